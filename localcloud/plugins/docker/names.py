"""Parts of an image's name."""


def split_name(name: str) -> tuple[str, str, str]:
    """HOST, PATH and TAG; the host is docker.io and the tag latest where the name has none."""
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = "docker.io", name
    path, _, tag = rest.partition(":")
    return first, path, tag or "latest"


def registry_of(name: str) -> str:
    """The registry an image is pushed to."""
    return split_name(name)[0]


def without_tag(name: str) -> str:
    """HOST/PATH as the program wrote it."""
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
