"""int -> Cached, an amount of work that an earlier call has done."""


class Cached(int):
    """An amount of work that was done earlier, such as images whose features are cached.

    Callbacks that count work receive it as they receive any number. Progress adds it to what is
    done, but not to the speed from which the time left is estimated.
    """
