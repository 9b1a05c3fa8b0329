from faultproxy.faults.base import PacketShape, StreamShape
from faultproxy.faults.noop import Noop


def test_it_shapes_nothing() -> None:
    """It is a shape of neither bytes nor packets."""
    noop = Noop.model_validate({"direction": "upstream"})
    assert not isinstance(noop, PacketShape | StreamShape)
    assert noop.client_sees == "nothing"
