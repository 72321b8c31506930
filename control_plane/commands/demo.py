"""Phone the built-in agent, and watch: the whole server starts, a scripted caller rings it up over real SIP and RTP,
speaks, presses a key and interrupts. Leaves a stereo recording (caller left, agent right) and a picture of it.

    bellframe demo                 a minute, and ./bellframe-demo/demo.wav and demo.png
    bellframe demo --agent echo    another agent answers: a built-in one, MODULE:CLASS, or WIRE+wss://BOT
    bellframe demo --wire twilio   a bot answers, in a process of its own, over that wire
    bellframe demo --keep          the server stays up afterwards: call it with a softphone of your own
"""

import argparse
import contextlib
import json
import os
import pathlib
import queue
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import wave
from collections.abc import Iterator, Mapping

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from control_plane import client
from control_plane.channel import Channel
from control_plane.commands import demo_story, picture
from control_plane.commands.demo_bot import Bot
from control_plane.commands.demo_scenes import AGENTS, OWN, PHRASES, WIRES, Scene
from control_plane.commands.demo_story import Part, Story
from control_plane.messages import Watch

DEFAULT_AGENT = "menu"
START_LIMIT_S = 240.0  # the first start on a machine compiles
CALL_LIMIT_S = 120.0
STOP_LIMIT_S = 20.0
LOOK_EVERY_S = 0.05
RTP_PORTS = 40
WIDE = 200  # columns for whoever reads it from a file
FIRST_RTP_PORT, LAST_RTP_PORT = 20_000, 32_000  # below what the kernel gives out by itself


class DemoFailed(client.CommandFailed):
    """Something that the demo needs did not come about. The text says what, and where to look."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keep", action="store_true", help="leave the server up afterwards, and say what to dial")
    who = parser.add_mutually_exclusive_group()
    who.add_argument("--agent", help=f"who answers: {', '.join(AGENTS)}, MODULE:CLASS or WIRE+wss://BOT (default: menu)")
    who.add_argument("--wire", help=f"a bot answers that says back what it hears, over {', '.join(WIRES)}")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bellframe-demo"), metavar="DIR", help="default: ./bellframe-demo")
    client.add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is ended
    scene = choose(arguments.agent, arguments.wire)
    console = Console(stderr=arguments.json, highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = WIDE
    out: pathlib.Path = arguments.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    who = f"a bot over the wire {arguments.wire}" if arguments.wire else f"the agent {arguments.agent or DEFAULT_AGENT}"
    with contextlib.ExitStack() as running:
        bot = running.enter_context(Bot(arguments.wire)) if arguments.wire else None
        route = {"agent": bot.reference if bot else arguments.agent or DEFAULT_AGENT, "arguments": scene.arguments_with(str(out))}
        folder = pathlib.Path(running.enter_context(tempfile.TemporaryDirectory(prefix="bellframe-demo-")))
        server = running.enter_context(Server(route, folder, out / "server.log"))
        script = prepare_caller(scene, out, console)
        server.wait_until_ready(console)
        story = Story(scene.expected)
        call(server, bot, script, out / "demo.wav", story, console)
        parts = story.parts() + leave(story, out, who)
        report(console, story, parts, out, time.monotonic() - began)
        if arguments.json:
            client.print_json(as_json(story, parts, out))
        if arguments.keep:
            keep(server, who, console)
    missing = [part.name for part in parts if not part.is_done]
    if missing:
        console.print(f"The demo failed in: {'; '.join(missing)}. The server's log is {out / 'server.log'}", style="bold red")
    return 1 if missing else 0


def choose(agent: str | None, wire: str | None) -> Scene:
    """What the caller does. Raises DemoFailed for a name that there is not."""
    if wire:
        if wire not in WIRES:
            raise DemoFailed(f'--wire {wire}: the demo has a bot for {", ".join(WIRES)}. A bot of your own: --agent {wire}+ws://HOST:PORT/PATH')
        return WIRES[wire]
    name = agent or DEFAULT_AGENT
    if name not in AGENTS and ":" not in name:
        raise DemoFailed(f'--agent {name}: there is no such built-in agent ({", ".join(AGENTS)}). Your own is named MODULE:CLASS')
    return AGENTS.get(name, OWN)


# ---- the server ----------------------------------------------------------------------------------------------------


class Server:
    """`bellframe up` as anybody would start it, on ports that are free."""

    def __init__(self, route: Mapping[str, object], runtime_directory: pathlib.Path, log: pathlib.Path) -> None:
        self.runtime_directory, self.log = runtime_directory, log
        settings = runtime_directory / "demo.toml"
        settings.write_text(as_toml(route))
        self.sip = f"127.0.0.1:{free_port()}"
        self.lines: queue.Queue[str] = queue.Queue()
        flags = ["--sip", self.sip, "--rtp-ports", free_rtp_ports(), "--workers", "1", "--runtime-dir", str(runtime_directory)]
        command = [sys.executable, "-m", "control_plane.command", "up", "--config", str(settings), *flags]
        # its own group: Ctrl-C ends the demo, which then ends the server in order
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout
        with self.log.open("w") as log:
            for line in self.process.stdout:
                log.write(line)
                log.flush()
                self.lines.put(line.rstrip())

    def wait_until_ready(self, console: Console) -> None:
        """Raises DemoFailed if it ends, or is not ready in time."""
        deadline = time.monotonic() + START_LIMIT_S
        console.print("starting the server: front, keeper with a media worker, bridge", style="dim")
        while time.monotonic() < deadline:
            try:
                line = self.lines.get(timeout=0.2)
            except queue.Empty:
                if self.process.poll() is not None:
                    raise DemoFailed(f"the server ended before it accepted calls: see {self.log}") from None
                continue
            console.print(f"  {line}", style="dim", markup=False)
            if "accepts calls" in line:
                return
        raise DemoFailed(f"the server did not accept calls within {START_LIMIT_S:.0f} s: see {self.log}")

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()


def as_toml(route: Mapping[str, object]) -> str:
    """A configuration with this route."""
    arguments = route["arguments"]
    assert isinstance(arguments, Mapping)
    pairs = ", ".join(f"{name} = {json.dumps(value)}" for name, value in arguments.items())  # JSON's strings are TOML's
    return f"[[routes]]\nagent = {json.dumps(route['agent'])}\narguments = {{ {pairs} }}\n"


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_rtp_ports() -> str:
    """A range that nobody has at the moment, so that several demos may run at once."""
    for _ in range(100):
        first = random.randrange(FIRST_RTP_PORT, LAST_RTP_PORT, RTP_PORTS)
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + RTP_PORTS):
                    probes.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("0.0.0.0", port))
            except OSError:
                continue
            return f"{first}-{first + RTP_PORTS - 1}"
    raise DemoFailed(f"there is no free range of {RTP_PORTS} UDP ports from {FIRST_RTP_PORT} to {LAST_RTP_PORT}")


# ---- the caller ------------------------------------------------------------------------------------------------------


def prepare_caller(scene: Scene, out: pathlib.Path, console: Console) -> pathlib.Path:
    """The script and the caller's phrases, as files in `out`. Raises DemoFailed without the speech extra."""
    console.print("the caller learns what to say", style="dim")
    for name, text in PHRASES.items():
        command = [sys.executable, "-m", "ai_bridge.offline_speech", "say", text, str(out / name), "--rate", "8000"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise DemoFailed(f"the caller cannot speak: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
    script = out / "script.json"
    script.write_text(json.dumps(scene.script, indent=1) + "\n")
    return script


def call(server: Server, bot: Bot | None, script: pathlib.Path, recording: pathlib.Path, story: Story, console: Console) -> None:
    """Let the caller ring up, and show what it, the front and the agent or the bot tell."""
    recording.unlink(missing_ok=True)
    flags = ["--server", server.sip, "--script", str(script), "--record", str(recording), "--events", "-"]
    with client.connection(server.runtime_directory) as channel:
        channel.send(Watch())
        console.print(f"\na caller dials sip:menu@{server.sip}\n")
        command = [sys.executable, "-m", "sip_front.softphone", *flags]
        phone = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
        try:
            for line in _follow(phone, channel, bot, story):
                console.print(Text(line.text, style=line.style))
        finally:
            if phone.poll() is None:
                phone.terminate()
            phone.wait()


def _follow(phone: "subprocess.Popen[str]", channel: Channel, bot: Bot | None, story: Story) -> Iterator[demo_story.Line]:
    """Until the phone has ended, and then what the server still had to say. Raises DemoFailed if it takes too long."""
    told: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_read_events, args=(phone, told), daemon=True).start()
    deadline = time.monotonic() + CALL_LIMIT_S
    is_over = False
    while not is_over:
        if time.monotonic() > deadline:
            raise DemoFailed(f"the call took more than {CALL_LIMIT_S:.0f} s")
        with contextlib.suppress(queue.Empty):
            event = told.get(timeout=LOOK_EVERY_S)
            is_over = event is None
            if event is not None:
                yield from story.receive_phone(json.loads(event))
        if is_over:
            time.sleep(4 * LOOK_EVERY_S)
        for message in (*channel.receive(), *(bot.notes() if bot else ())):
            yield from story.receive_server(message)


def _read_events(phone: "subprocess.Popen[str]", told: "queue.Queue[str | None]") -> None:
    assert phone.stdout
    for line in phone.stdout:
        told.put(line)
    told.put(None)


# ---- what is left ------------------------------------------------------------------------------------------------------


def leave(story: Story, out: pathlib.Path, who: str) -> list[Part]:
    """Look at the recording, and draw it."""
    recording, drawing = out / "demo.wav", out / "demo.png"
    drawing.unlink(missing_ok=True)
    try:
        with wave.open(str(recording), "rb") as file:
            rate_hz = file.getframerate()
            stereo = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16).reshape(-1, 2)
    except (OSError, EOFError, wave.Error) as failure:
        return [Part("a recording", False, str(failure)), Part("a picture", False, "nothing to draw")]
    seconds = len(stereo) / rate_hz
    parts = [Part("a recording", bool(stereo[:, 0].any() and stereo[:, 1].any()), f"{seconds:.1f} s, caller left, agent right")]
    quality = story.summary["quality"]
    title = f"A call to {who}, over SIP and RTP: {seconds:.1f} s, {quality['lost']} of {quality['received']} packets lost"
    try:
        picture.draw(drawing, story.recording(stereo, rate_hz, title))
    except ImportError as failure:
        return [*parts, Part("a picture", False, f"{failure}: pip install 'bellframe[agent]'")]
    return [*parts, Part("a picture", drawing.stat().st_size > 0, "")]


def report(console: Console, story: Story, parts: list[Part], out: pathlib.Path, seconds: float) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for part in parts:
        mark = Text("yes", style="green") if part.is_done else Text("NO", style="bold red")
        table.add_row(mark, Text(part.name), Text(part.figure))
    latency = story.latency_ms()
    if latency:
        figure = f"median {latency[0]:.2f} ms, 99th percentile {latency[1]:.2f} ms"
        table.add_row(Text("yes", style="green"), Text("audio reached the agent"), Text(f"{figure} after its packet came"))
    console.print()
    console.print(table)
    console.print(f"\nlisten: {out / 'demo.wav'}\nlook:   {out / 'demo.png'}\n{seconds:.0f} s in all", markup=False)


def as_json(story: Story, parts: list[Part], out: pathlib.Path) -> dict[str, object]:
    latency = story.latency_ms()
    interruptions = [{"text": one.text, "to_silence_ms": round(1000 * (one.silent_s - one.onset_s), 2)} for one in story.interruptions()]
    return {
        "is_complete": all(part.is_done for part in parts),
        "parts": [{"name": part.name, "is_done": part.is_done, "figure": part.figure} for part in parts],
        "interruptions": interruptions,
        "packet_to_agent_ms": {"median": latency[0], "p99": latency[1]} if latency else None,
        "quality": story.summary.get("quality"),
        "recording": str(out / "demo.wav"),
        "picture": str(out / "demo.png"),
    }


def keep(server: Server, who: str, console: Console) -> None:
    """Until Ctrl-C, or until the server ends."""
    console.print(f"\nThe server stays up, with {who}. With a softphone on this machine, dial")
    console.print(f"  sip:menu@{server.sip}", style="bold")
    console.print("Ctrl-C ends it. In another terminal:")
    console.print(f"  bellframe top --runtime-dir {server.runtime_directory}", markup=False)
    with contextlib.suppress(KeyboardInterrupt):
        while server.process.poll() is None:
            with contextlib.suppress(queue.Empty):
                console.print(f"  {server.lines.get(timeout=0.5)}", style="dim", markup=False)
