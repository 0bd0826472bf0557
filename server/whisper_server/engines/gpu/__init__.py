"""What the engines for GPUs share: checkpoint facts, shared audio memory, log-mel, Whisper's token rules, alignment."""
