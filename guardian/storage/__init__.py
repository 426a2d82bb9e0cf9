"""What services write to the engine's file system, how fast that grows, and what would free some of it. Guardian frees none."""
