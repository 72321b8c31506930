"""The configuration: one TOML file, strict. Every setting has its unit in its name and its trade-off in its text.

An unknown key, a wrong type or an impossible value is refused with the place and the remedy.
"""

import difflib
import operator
import os
import pathlib
import re
import tomllib
from typing import Any, Literal, get_args

import msgspec

from control_plane import credentials, g729_library, opus_library
from control_plane.door_config import check_door
from control_plane.errors import ConfigurationError
from control_plane.formats import check_names
from control_plane.http_config import Http, Records, Traces, check_http, check_records, check_traces
from control_plane.listen_config import check_listen
from control_plane.listen_config import parse_address as parse_address
from control_plane.reach import Reach
from control_plane.route_config import Route as Route
from control_plane.route_config import check_routes
from control_plane.secret import Secret, decode_hook, reveal_hook
from control_plane.srtp_suites import POLICIES
from control_plane.tenant_config import Tenant, check_tenants
from control_plane.trunk_config import Trunk, User, check_sources, check_trunks


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


class Sip(Section):
    listen: str | tuple[str, ...] = "127.0.0.1:5060"
    """Where calls come in: one place or several. HOST:PORT is UDP and TCP; udp:, tcp:, tls:, ws: or wss: before it is that one alone.
    0.0.0.0 is every address of this machine; an IPv6 address has brackets."""
    public_address: str | tuple[str, ...] = ""
    """What far ends are told to send to, when they see another address than ours (NAT). Empty: the one they reached. "stun:HOST[:PORT]":
    the one that this STUN server sees, asked at the start and every minute. A list has one for each place of sip.listen."""
    websocket_origins: tuple[str, ...] = ()
    """Pages whose phones may connect to ws: and wss: places, as browsers name them: "https://phone.example.com". Empty: none; "*": any page
    that somebody opens. What is no browser names none, and is let in by sip.allow and [[users]] alone."""
    tls_certificate: str = ""
    """PEM, with the intermediate ones: what tls: and wss: places show, and we as a client. Read again when the file changes, and on
    SIGHUP."""
    tls_key: str = ""
    """PEM, without a password. Empty: it is in the certificate's file."""
    tls_client_ca: str = ""
    """PEM: whoever connects by TLS must show a certificate that one of these signed (mutual TLS). Empty: nobody is asked for one."""
    tls_server_ca: str = ""
    """PEM: who signs the certificates of those whom we call by TLS. Empty: the system's list."""
    nameservers: tuple[str, ...] = ()
    """ADDRESS or ADDRESS:PORT of DNS servers for calls that go out. Empty: the system's."""
    connection_start_seconds: float = 10.0
    """A connection whose handshake and first message take longer is closed, and so is one in the middle of a message."""
    connection_idle_seconds: float = 600.0
    """A connection that is silent so long is closed, if no call uses it. Less than 120 would cut off phones that keep one open."""
    max_connections: int = 4096
    """TCP and TLS, in all. Strangers, who may turn out to be [[users]], get three quarters of them, and connect 500 times a second."""
    max_connections_per_source: int = 256
    """TCP and TLS, of one address."""
    allow: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    """Networks and host names that may call, as no trunk in particular. Everybody else gets 403 and a line in the log."""
    realm: str = "bellframe"
    """What [[users]] authenticate for. Their ha1 depends on it."""
    digest_algorithms: tuple[str, ...] = ("MD5",)
    """Asked of [[users]], in this order: MD5, SHA-256, SHA-512-256. Phones that know MD5 only give up where another is offered as well
    (baresip 1.0 does), so add SHA-256 once all of yours know it."""
    trace: bool = False
    """Keep the SIP messages of the last 500 calls in memory for `bellframe trace`, passwords and keys covered: some microseconds each."""
    hep: str = ""
    """udp:HOST:PORT of a HEP collector such as HOMER: it gets every SIP message, passwords and keys covered, and a report of each call's
    audio. It is never waited for. Empty: nothing is exported."""
    hep_capture_id: int = 2001
    """What the collector knows this server by."""
    hep_password: Secret = Secret()
    """What the collector wants to see in every message, if it does. HEP over UDP is not encrypted: let it stay in your own network."""
    register_min_seconds: int = 60
    """A phone of [[users]] that registers for less is told to ask for more (423)."""
    register_max_seconds: int = 3600
    """One that asks for more gets this. Less finds a phone that was switched off sooner, and costs a message each time."""
    drain_seconds: float = 30.0
    """How long calls may finish after SIGTERM. Then they are ended with BYE."""
    max_calls_per_second: float = 200.0
    """Set-ups accepted; above it 503 with Retry-After. Protects the calls that are up."""
    follow: tuple[str, ...] = ()
    """Patterns of USER@ADDRESS where a far end may send a call of ours with 3xx or REFER, beside its own host: "*@192.0.2.7". Each one is a
    way for others to make us dial."""
    session_expires_seconds: int = 1800
    """Session timers (RFC 4028): either end shows that it is there by refreshing this often, and a call that is not refreshed ends.
    Shorter finds a far end that was lost sooner, and costs a message each time. 0: none."""


class Opus(Section):
    """What we send. A far end may ask for less (a=fmtp), and gets it."""

    bitrate_bps: int = 24_000
    """Speech at 16 kHz is clear at 24 kbit/s with FEC. Less spares a slow line, more is for music."""
    complexity: int = 5
    """0 to 10: each step is some more of the worker's core for a little better sound. From 6 on few hear it."""
    fec: bool = True
    """Send the last packet again in the next one, coarser, to far ends that want it (useinbandfec): a loss is hardly heard."""
    dtx: bool = True
    """Send nothing in silence to far ends that want it (usedtx)."""


class Media(Section):
    rtp_ports: str = "10000-12000"
    """FIRST-LAST. A call takes an even port for RTP and the next one for RTCP, bound at start: two thousand ports, a thousand calls."""
    workers: int = 0
    """Media worker processes. 0: one for each core given, but one core is left for the rest."""
    cores: str = ""
    """Which cores workers are pinned to: "2-5,8". Empty: of the cores this process may use, the last ones."""
    formats: tuple[str, ...] = ("PCMU", "PCMA", "G722")
    """Offered and accepted, in order of preference: of what a far end offers, the first here is taken. G722 first gives agents
    16 kHz where a telephone can, for more of the worker's core."""
    opus: Opus = Opus()
    g729_library: str = ""
    """For calls in G.729: bcg729, as "libbcg729.so.0" or by its path. It is under the GPL 3, so nothing loads it that is not named here."""
    srtp: str = "off"
    """Keys go in the SDP (SDES). "preferred" takes SRTP where it is offered, and offers it so that a far end may decline: RTP/AVP with
    a=crypto, which some refuse. "required" neither offers nor takes anything else: RTP/SAVP. Who reads the SIP reads the keys: use TLS."""
    shared_port_calls: int = 4000
    """At most, of one worker, on the port that the calls of trunks with shared_rtp_port have together. It is the first of rtp_ports for
    the first worker, and so on. They cost memory once there are calls; without such a trunk there is no such port."""
    silent_seconds_at_start: float = 30.0
    """A call whose far end has never sent audio is ended after this."""
    silent_seconds: float = 60.0
    """A call whose far end stopped sending is ended after this. Carriers stay silent for long while a caller is on hold."""
    hold_seconds: float = 3600.0
    """A call on hold whose far end sends nothing is ended after this: callers on hold are silent for long, but a far end that died must
    not keep a port for ever."""
    port_quiet_seconds: float = 30.0
    """A port is not given to another call before it has been silent this long (10 min at most): late packets stay out."""
    inband_dtmf: bool = False
    """Listen for keys in the audio of far ends that did not agree to telephone-events: old gateways and analogue lines. It costs
    1.4 us of each 20 ms, and once in a long while a voice sounds like a key."""
    comfort_noise: bool = False
    """While an agent says nothing, send far ends that agreed to it (RFC 3389) a packet five times a second that says how loud our silence
    is, in place of noise in every packet: half the packets of most calls. Some equipment takes a stream with gaps for a broken one."""
    rtcp_interval_seconds: float = 5.0
    """Between our RTCP reports on average (RFC 3550). Less shows quality sooner; 0 sends none, and then far ends and `bellframe top` know
    less of the call."""
    music: str = ""
    """What people hear while they wait for others: a WAV file, 16-bit PCM, up to 5 minutes. Empty: a little music of our own."""
    music_on_hold: bool = False
    """A call that an operator puts on hold, by `bellframe hold` or HTTP, hears `music` until it is resumed, and not its agent."""
    dscp: int = 46
    """How routers are to treat our RTP and RTCP: 46 is expedited forwarding, voice (RFC 4594); 0 leaves them unmarked."""
    max_busy_percent: float = 90.0
    """A worker that is busier gets no new calls until it is not; when all are, calls are refused with 503. 100: never refused for it."""
    max_late_percent: float = 5.0
    """The same for packets that go out 16 ms late or more: the calls that are up are heard to suffer. 100: never refused for it."""
    heartbeat_timeout_ms: int = 200
    """A worker that has not finished a cycle for this long is replaced. Its calls go on. One that was stopped, or that does not come round
    though it has a core, is seen sooner; more than this helps a machine that does not let its workers run."""


class Bridge(Section):
    processes: int = 1
    """Agent processes. Calls are spread over them; an agent that blocks holds up those of its own process only."""
    modules: str = ""
    """A folder put first on Python's path, where your agents are. Empty: the folder you start from."""
    door: str = ""
    """Where bots dial us and wait for calls, ADDRESS:PORT (docs/wires.md). Of several processes each has the next port. Empty: off."""
    door_tokens: tuple[Secret, ...] = ()
    """A bot shows one of these (Authorization: Bearer ...), and then gets calls: it hears and speaks to your callers."""
    door_token_file: str = ""
    """More tokens, one a line. A name without a slash is that of a systemd credential (LoadCredential=)."""
    door_certificate: str = ""
    """For TLS, PEM: the certificate with those between it and the authority. Only a door on loopback may be without."""
    door_key: str = ""
    """Its private key, PEM. Empty: it is in the same file."""


class CampaignsSection(Section):
    directory: str = ""
    """Where the campaigns of the HTTP API are kept: lists, what was dialled, and outcomes. Empty: there are none."""


class RecordingSection(Section):
    directory: str = ""
    """Where recordings go: CALL_ID.wav, the caller left and what we sent right, and CALL_ID.json. Empty: nothing can be recorded."""
    format: Literal["wav", "ogg"] = "wav"
    """"ogg" is Opus: a tenth of the disk's room, for ten times the recorder's CPU. A core takes some 400 calls at 8 kHz, 200 at 16 kHz."""


class Config(Section):
    sip: Sip = Sip()
    media: Media = Media()
    bridge: Bridge = Bridge()
    http: Http = Http()
    records: Records = Records()
    traces: Traces = Traces()
    recording: RecordingSection = RecordingSection()
    campaigns: CampaignsSection = CampaignsSection()
    routes: tuple[Route, ...] = ()
    keys: dict[str, Secret] = {}
    """API keys of models, by the name that routes call them. A file of that name among the service's credentials will do as well."""
    trunks: tuple[Trunk, ...] = ()
    users: tuple[User, ...] = ()
    tenants: tuple[Tenant, ...] = ()
    runtime_directory: str = ""
    """Sockets of our own processes, entered by our user only. Empty: systemd's, or one below the user's runtime directory."""
    state_directory: str = ""
    """What must outlive a restart of the machine: what was spent today. Empty: systemd's StateDirectory, or the sockets' directory."""
    reachable_networks: tuple[str, ...] = ()
    """Private networks, "10.1.0.0/16", that addresses may lead to which a token or a document from elsewhere names (TwiML, webhooks of
    tenants' calls). All others of those are asked on the internet only. What this file names, and an application that it names, is free."""
    log_format: str = "text"
    """text for people, json for machines."""

    def runtime_path(self) -> pathlib.Path:
        given = self.runtime_directory or os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        base = os.environ.get("XDG_RUNTIME_DIR") or f"/tmp/bellframe-{os.getuid()}"
        return pathlib.Path(given or f"{base}/bellframe")

    def state_path(self) -> pathlib.Path:
        given = self.state_directory or os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        return pathlib.Path(given) if given else self.runtime_path()

    @property
    def needs_http(self) -> bool:
        """There is work for the process of the HTTP API, which also writes records and asks webhooks."""
        has_own_work = self.http.listen or self.records.are_kept or self.traces.endpoint
        return bool(has_own_work or any(route.webhook for route in self.routes))

    def rtp_port_pairs(self) -> range:
        """The even ports that calls get."""
        first, last = parse_ports(self.media.rtp_ports)
        return range(first, last, 2)

    def shared_port_calls(self) -> int:
        """Of one worker, on the port that they share; 0: no trunk shares one."""
        return self.media.shared_port_calls if any(trunk.shared_rtp_port for trunk in self.trunks) else 0

    def most_calls(self) -> int:
        """At a time, if every port can be bound."""
        workers, sharing = len(self.cores()), self.shared_port_calls()
        return len(self.rtp_port_pairs()) + (workers * (sharing - 1) if sharing else 0)

    def cores(self) -> list[int]:
        """The cores workers are pinned to, one a worker."""
        usable = sorted(os.sched_getaffinity(0))
        cores = parse_cores(self.media.cores) if self.media.cores else usable[1:] or usable
        outside = sorted(set(cores) - set(usable))
        if outside:
            raise ConfigurationError(f"media.cores: this process may not run on core {outside[0]}: it has {usable}")
        count = self.media.workers or len(cores)
        return [cores[i % len(cores)] for i in range(count)]


LAST_CORE = 8191  # Linux is built for 8192 at most
DAY_S = 86_400
LIMITS: tuple[tuple[str, float, float, str], ...] = (  # setting, from, to, what to write
    ("sip.drain_seconds",             0,      DAY_S,  "0 ends calls at once"),
    ("sip.max_calls_per_second",      0.1,    100_000, "sip.allow = [] takes no calls at all"),
    ("sip.register_min_seconds",      1,      3600,   "60 keeps phones from asking all the time"),
    ("sip.register_max_seconds",      60,     DAY_S,  "3600 is usual"),
    ("sip.session_expires_seconds",   0,      DAY_S,  "0 is no session timers; else 90 at least, and 1800 is usual"),
    ("sip.hep_capture_id",            0,      2**32 - 1, "the number that the collector has for this server"),
    ("sip.connection_start_seconds",  0.5,    600,    "10 gives a slow handshake time"),
    ("sip.connection_idle_seconds",   0.5,    DAY_S,  "600 outlasts the keepalives of phones"),
    ("sip.max_connections",           1,      60_000, "each takes a descriptor (LimitNOFILE=)"),
    ("sip.max_connections_per_source", 1,     60_000, "256 is enough for a trunk, or an office behind one address"),
    ("media.workers",                 0,      1024,   "0 is one for each core, but one core is left for the rest"),
    ("media.shared_port_calls",       1,      20_000, "4000 is what one core carries"),
    ("media.silent_seconds_at_start", 1,      DAY_S,  "30 gives a far end time to begin"),
    ("media.silent_seconds",          1,      DAY_S,  "60 outlasts the pauses of carriers"),
    ("media.hold_seconds",            1,      DAY_S,  "3600 outlasts most music"),
    ("media.port_quiet_seconds",      0,      600,    "30 outlasts late packets"),
    ("media.rtcp_interval_seconds",   0,      120,    "5 is what RFC 3550 has; 0 sends no reports"),
    ("media.opus.bitrate_bps",        6_000,  510_000, "24000 is clear for speech (RFC 7587 3.1.1)"),
    ("media.opus.complexity",         0,      10,     "5 is half of what libopus can take"),
    ("media.dscp",                    0,      63,     "46 is voice"),
    ("media.max_busy_percent",        10,     100,    "90 leaves room for calls to become busier; 100 never refuses"),
    ("media.max_late_percent",        0.1,    100,    "5 is heard; 100 never refuses"),
    ("media.heartbeat_timeout_ms",    100,    60_000, "200 is four times what an idle worker takes for a cycle"),
    ("bridge.processes",              1,      64,     "1 carries many calls"),
    ("records.days",                  1,      3650,   'records.file = "" keeps none at all'),
)


def parse_ports(text: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    if not dash or not first.strip().isdecimal() or not last.strip().isdecimal():
        raise ConfigurationError(f'media.rtp_ports: "{text}" is not FIRST-LAST, for example "10000-12000"')
    low, high = int(first), int(last)
    low += low % 2  # RFC 3550 11: RTP takes the even port
    if not 1024 <= low < high <= 65535:
        raise ConfigurationError(f'media.rtp_ports: "{text}" must lie within 1024-65535 and hold an even port and the one after it')
    return low, high


def parse_cores(text: str) -> list[int]:
    cores: list[int] = []
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            raise ConfigurationError(f'media.cores: "{text}" is not a list of cores such as "2-5,8"')
        low, high = int(first), int(last or first)
        if not low <= high <= LAST_CORE:
            raise ConfigurationError(f'media.cores: "{part.strip()}" holds no core: name the lower one first, {LAST_CORE} at most')
        cores += range(low, high + 1)
    return sorted(set(cores))


def check(config: Config) -> Config:
    """What types cannot say. Raises ConfigurationError with the first thing that is wrong."""
    check_listen(config.sip)
    Reach(config.reachable_networks)
    parse_ports(config.media.rtp_ports)
    for setting, low, high, remedy in LIMITS:
        value = operator.attrgetter(setting)(config)
        if not low <= value <= high:  # nor is nan
            raise ConfigurationError(f"{setting}: {value} is not from {low} to {high}; {remedy}")
    if 0 < config.sip.session_expires_seconds < 90:  # RFC 4028 5
        raise ConfigurationError("sip.session_expires_seconds: below 90 far ends refuse the call; 1800 is usual, 0 is no session timers")
    if config.sip.register_min_seconds > config.sip.register_max_seconds:
        raise ConfigurationError("sip.register_min_seconds: it is above sip.register_max_seconds; 60 and 3600 are usual")
    config.cores()
    check_sources(config.sip.allow, "sip.allow")
    check_trunks(config.trunks, config.users)
    check_digest(config)
    for name in config.keys:
        credentials.check_name(name, "keys")
    check_routes(config.routes, config.trunks, config.users)
    check_tenants(config.tenants, config.trunks, config.routes, config.users)
    if any(route.webhook for route in config.routes) and not (config.http.webhook_secret or config.http.webhook_secret_file):
        raise ConfigurationError("routes.webhook: name http.webhook_secret too, or the receiver cannot know that it was us")
    check_recording(config)
    check_door(config.bridge, [route.agent for route in config.routes])
    check_traces(config.traces)
    check_http(config.http, parse_address(config.http.listen, "http.listen")[0] if config.http.listen else "")
    check_records(config.records)
    check_names(config.media.formats, "media.formats")
    check_g729(config)
    if not config.media.formats:
        raise ConfigurationError("media.formats: name one at least")
    if config.media.srtp not in POLICIES:
        raise ConfigurationError(f'media.srtp: "{config.media.srtp}" is none of "off", "preferred" and "required"')
    if config.state_directory and not config.state_directory.startswith("/"):
        raise ConfigurationError(f'state_directory: "{config.state_directory}" must begin with /: processes start elsewhere')
    if config.log_format not in ("text", "json"):
        raise ConfigurationError(f'log_format: "{config.log_format}" is neither "text" nor "json"')
    return config


def check_digest(config: Config) -> None:
    known = ("MD5", "SHA-256", "SHA-512-256")
    for name in config.sip.digest_algorithms:
        if name not in known:
            raise ConfigurationError(f'sip.digest_algorithms: "{name}" is not known; there are {", ".join(known)}')
    if not config.sip.digest_algorithms or not config.sip.realm.isprintable() or not config.sip.realm:
        raise ConfigurationError("sip.realm and sip.digest_algorithms: neither may be empty")
    hashed = {"MD5" if len(user.ha1.reveal()) == 32 else "SHA-256" for user in config.users if user.ha1}
    if len(hashed) > 1 or not hashed <= set(config.sip.digest_algorithms):
        raise ConfigurationError("users: every ha1 must be of one algorithm, and sip.digest_algorithms must name it: we ask all alike")


def check_g729(config: Config) -> None:
    owners: list[tuple[str, tuple[str, ...]]] = [("media", config.media.formats)]
    owners += [(f'trunks "{trunk.name}"', trunk.formats) for trunk in config.trunks]
    owners += [(f"routes[{position}]", route.formats) for position, route in enumerate(config.routes)]
    wanting = [where for where, formats in owners if "G729" in formats]
    why_not = g729_library.why_not(config.media.g729_library) if wanting or config.media.g729_library else ""
    if why_not:
        raise ConfigurationError(f"{f'{wanting[0]}.formats' if wanting else 'media.g729_library'}: {why_not}")


def check_recording(config: Config) -> None:
    if config.campaigns.directory and not config.campaigns.directory.startswith("/"):
        raise ConfigurationError(f'campaigns.directory: "{config.campaigns.directory}" must begin with /: processes start elsewhere')
    if config.recording.directory:
        if not config.recording.directory.startswith("/"):
            raise ConfigurationError(f'recording.directory: "{config.recording.directory}" must begin with /: processes start elsewhere')
        if config.recording.format == "ogg" and not opus_library.find():
            raise ConfigurationError(f"recording.format: {opus_library.REMEDY}")
    elif any(route.record for route in config.routes):
        raise ConfigurationError('routes.record: name recording.directory too, for example "/var/lib/bellframe/recordings"')


def encode(config: Config) -> bytes:
    """With the passwords in it: for a file that only we may read."""
    return msgspec.json.encode(config, enc_hook=reveal_hook)


def load(path: pathlib.Path) -> Config:
    """Read a TOML or a JSON file. Raises ConfigurationError naming the file, the place and the remedy."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as failure:
        raise ConfigurationError(f"{path}: cannot be read: {failure}") from failure
    try:
        values = msgspec.json.decode(text) if path.suffix == ".json" else tomllib.loads(text)
        return check(msgspec.convert(values, Config, dec_hook=decode_hook))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, msgspec.DecodeError) as failure:
        raise ConfigurationError(f"{path}: {_with_line(str(failure), text)}") from failure
    except ConfigurationError as failure:
        raise ConfigurationError(f"{path}: {failure}") from failure


def _with_line(reason: str, text: str) -> str:
    """msgspec names the place as a path, people look for a line: find the key where it can be found."""
    unknown = reason.partition("unknown field `")[2].partition("`")[0]
    path = reason.rpartition("at `$.")[2].rstrip("`") if "at `$." in reason else ""
    key = unknown or path.rpartition(".")[2].partition("[")[0]
    for number, line in enumerate(text.splitlines(), 1):
        if key and line.split("=")[0].strip().strip("[]").rpartition(".")[2] == key:
            return f"line {number}: {reason}{_known_instead(unknown, path)}"
    return reason


def _known_instead(unknown: str, path: str) -> str:
    """Of a key that is not known: the one that was meant, or all that there are."""
    kind: Any = Config
    for name in re.sub(r"\[[^]]*\]", "", path).split(".") if path else ():
        kind = next((field.type for field in msgspec.structs.fields(kind) if field.name == name), None)
        kind = next((one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, msgspec.Struct)), None)
        if kind is None:
            return ""
    names = [field.encode_name for field in msgspec.structs.fields(kind)] if unknown else []
    meant = difflib.get_close_matches(unknown, names, 1)
    return f"; did you mean {meant[0]}?" if meant else f"; there are {', '.join(names)}" if names else ""
