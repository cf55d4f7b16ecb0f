"""ONNX files made by hand, a few bytes each: the package that writes them is none of ours."""


def darkness() -> bytes:
    """Return a classifier for which a photo is the more unsafe the darker it is: 1 - its mean."""
    mean = _node("ReduceMean", ["picture"], "mean", _attribute("keepdims", 0))
    less = _node("Sub", ["one", "mean"], "probability")
    one = _field(2, 1) + _bytes(8, b"one") + _bytes(4, b"\x00\x00\x80\x3f")  # data_type FLOAT, name, float_data
    return _model([mean, less], [one], [1, 3, None, None], [])


def logits() -> bytes:
    """Return a network that answers twice the photo's mean, which is no probability."""
    twice = _node("Add", ["mean", "mean"], "probability")
    return _model([_node("ReduceMean", ["picture"], "mean", _attribute("keepdims", 0)), twice], [], [1, 3, 8, 8], [])


def of_grey() -> bytes:
    """Return a network that takes pictures of one channel."""
    return _model([_node("ReduceMean", ["picture"], "probability", _attribute("keepdims", 0))], [], [1, 1, 8, 8], [])


def _model(nodes: list[bytes], constants: list[bytes], given: list[int | None], answered: list[int | None]) -> bytes:
    graph = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, b"tiny")
    graph += b"".join(_bytes(5, constant) for constant in constants)
    graph += _bytes(11, _value("picture", given)) + _bytes(12, _value("probability", answered))
    return _field(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _field(2, 13))


def _node(operator: str, inputs: list[str], output: str, attribute: bytes = b"") -> bytes:
    told = b"".join(_bytes(1, name.encode()) for name in inputs) + _bytes(2, output.encode())
    return told + _bytes(4, operator.encode()) + (_bytes(5, attribute) if attribute else b"")


def _attribute(name: str, value: int) -> bytes:
    return _bytes(1, name.encode()) + _field(3, value) + _field(20, 2)


def _value(name: str, shape: list[int | None]) -> bytes:
    sides = b"".join(_bytes(1, _field(1, side) if side is not None else _bytes(2, b"n")) for side in shape)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _field(1, 1) + _bytes(2, sides)))


def _field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
