"""What the container leaves in memory, what requests may hold of it, and how freed memory goes back."""
