import asyncio
import socket

import pytest

from control_plane.guarded_resolver import Guarded
from control_plane.reach import Reach, Unreachable


def resolve(name: str, *networks: str) -> list[str]:
    async def run() -> list[str]:
        resolver = Guarded(Reach(networks))
        try:
            return [found["host"] for found in await resolver.resolve(name, 80, socket.AF_INET)]
        finally:
            await resolver.close()

    return asyncio.run(run())


@pytest.mark.parametrize("name", ["localhost", "127.1", "0x7f000001", "2130706433"])
def test_names_of_this_machine_are_known_by_what_they_are_resolved_to(name: str) -> None:
    with pytest.raises(Unreachable, match=f"{name} is 127.0.0.1"):
        resolve(name)
    assert resolve(name, "127.0.0.0/8") == ["127.0.0.1"]
