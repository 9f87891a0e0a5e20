"""recipe, data -> a run: its folder, its memory, its progress."""
