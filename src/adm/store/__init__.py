"""Every on-disk format: folders that appear whole, locks, hashes, bounded JSON."""
