"""The HTTP layer on a real socket, over doubles of what transcribes that answer, stall and fail on command."""
