"""Text of strangers, such as labels and what a checkpoint says of itself, made safe to show."""


def printable(text: object) -> str:
    """Text in which nothing moves a cursor, changes a colour or turns the direction of writing.

    Characters that are not printable become their escapes, such as ``\\x1b``; lines stay lines.
    """
    return "".join(
        char if char.isprintable() or char == "\n" else char.encode("unicode_escape").decode()
        for char in str(text)
    )
