"""The largest sizes that a file or a setting may ask for: far above what can be trained.

They keep a damaged number from asking for all memory, or for hours.
"""

MOST_STEPS = 10**12  # optimizer steps of a run
MOST_LEVELS = 100_000  # T of a process; its schedule is a table in memory
MOST_SIDE, MOST_CHANNELS = 1 << 16, 1024  # of an image
MOST_BATCH = 1 << 20  # images of a step, of a preview
MOST_IMAGES = 10_000_000  # of a sample folder
MOST_AVERAGES = 100  # of the weights of a run
MOST_CLASSES, MOST_CHARACTERS = 1 << 20, 1000  # of a model; of the name of one
MOST_TEXT = 1 << 16  # characters of the name of data, which may be a path
