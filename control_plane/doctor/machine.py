"""What a machine says of itself below /proc and /sys. Linux only, and in one place; another `root` is another machine, for tests."""

import pathlib
import resource


class Machine:
    def __init__(self, root: pathlib.Path = pathlib.Path("/")) -> None:
        self.root = root

    def text(self, path: str) -> str:
        """A file's content; empty where there is none, as on other kernels and in containers."""
        try:
            return (self.root / path).read_text().strip()
        except OSError:
            return ""

    def number(self, path: str) -> int | None:
        text = self.text(path)
        return int(text) if text.lstrip("-").isdecimal() else None

    def numbers(self, path: str) -> list[int]:
        return [int(word) for word in self.text(path).split() if word.isdecimal()]

    def governors(self) -> dict[str, str]:
        """What each core's frequency is ruled by; empty where the hardware or a hypervisor does."""
        found = sorted((self.root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
        return {path.parent.parent.name: path.read_text().strip() for path in found}

    def siblings(self, core: int) -> set[int]:
        """The cores that share execution units with this one, itself included."""
        return set(parse_cores(self.text(f"sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")))

    def descriptor_limit(self) -> int:
        return resource.getrlimit(resource.RLIMIT_NOFILE)[1]

    def memory_bytes(self) -> dict[str, int]:
        """/proc/meminfo, in octets."""
        rows = (line.partition(":") for line in self.text("proc/meminfo").splitlines())
        return {name: int(value.split()[0]) * 1024 for name, _, value in rows if value.split()[:1] and value.split()[0].isdecimal()}

    def snmp(self, protocol: str) -> dict[str, int]:
        """Counters of a protocol from /proc/net/snmp."""
        rows = [line.split() for line in self.text("proc/net/snmp").splitlines() if line.startswith(f"{protocol}: ")]
        return dict(zip(rows[0][1:], map(int, rows[1][1:]), strict=False)) if len(rows) == 2 else {}

    def udp_drops(self) -> dict[int, int]:
        """Datagrams that a socket's full buffer lost, by local port."""
        found: dict[int, int] = {}
        for name in ("udp", "udp6"):
            for line in self.text(f"proc/net/{name}").splitlines()[1:]:
                words = line.split()
                port = int(words[1].rpartition(":")[2], 16)
                found[port] = found.get(port, 0) + int(words[-1])
        return found

    def steal_share(self) -> float:
        """Of the processors' time since boot, what a hypervisor gave to others."""
        times = [int(word) for word in self.text("proc/stat").partition("\n")[0].split()[1:9]]
        return times[7] / max(1, sum(times)) if len(times) == 8 else 0.0


def parse_cores(text: str) -> list[int]:
    """The kernel's lists: "0,4" or "2-5"."""
    cores: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdecimal() and (not last or last.isdecimal()):
            cores += range(int(first), int(last or first) + 1)
    return cores
