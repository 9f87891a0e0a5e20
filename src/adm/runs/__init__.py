"""Recipe, Source -> trained run: its folder, its memory, its progress."""
