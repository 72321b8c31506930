"""The HTTP process's socket, clock and signals."""

import argparse
import asyncio
import logging
import os
import pathlib
import signal
import sys

import zmq
from aiohttp import web

from control_plane import config as configuration
from control_plane import logs, notify, runtime
from control_plane.config import Config
from control_plane.errors import BellframeError, ConfigurationError
from control_plane.http.access import Access, tenant_tokens
from control_plane.http.advice import Adviser
from control_plane.http.api import make_app
from control_plane.http.diallers import Diallers
from control_plane.http.feed import Feed
from control_plane.http.link import Link
from control_plane.http.media import Media
from control_plane.http.recorder import Recorder
from control_plane.http.services import Services
from control_plane.http.spans import Spans
from control_plane.http.webhooks import Webhooks
from control_plane.http_config import Http
from control_plane.reach import Reach
from control_plane.record_store import make_store
from control_plane.tokens import load_tokens, read_secret

log = logging.getLogger("http")
BACKLOG, KEEPALIVE_S, SHUTDOWN_S = 128, 30.0, 1.0


def make_services(config: Config, link: Link) -> Services:
    """Raises ConfigurationError."""
    http = config.http
    webhooks = Webhooks(http.webhook, read_signing_secret(http), reach=Reach(config.reachable_networks))
    tokens = load_tokens(http.tokens, http.token_file, "http.token_file")
    access = Access(tokens, tenant_tokens(config.tenants, tokens))
    return Services(config, link, access, webhooks, Media(config.runtime_path()))


def read_signing_secret(http: Http) -> str:
    """What webhooks are signed with. Raises ConfigurationError."""
    if http.webhook_secret_file:
        return read_secret(http.webhook_secret_file, "http.webhook_secret_file")
    return http.webhook_secret.reveal()


def make_recorder(config: Config, link: Link) -> Recorder | None:
    """Raises ConfigurationError."""
    store = make_store(config.records)
    if store is None:
        return None
    if config.records.file:
        folder = pathlib.Path(config.records.file).parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise ConfigurationError(f"records.file: nothing can be written to {folder.absolute()}; make that folder, or name another one")
    return Recorder(link, store, config.records.days)


async def serve(config: Config, context: zmq.Context[zmq.Socket[bytes]]) -> None:
    """Until SIGTERM or SIGINT."""
    loop, is_stopping = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, is_stopping.set)
    link = Link(context, config.runtime_path())
    services = make_services(config, link)
    services.recorder = recorder = make_recorder(config, link)
    spans = Spans(config.traces) if config.traces.endpoint else None
    services.diallers = diallers = Diallers(link, pathlib.Path(config.campaigns.directory)) if config.campaigns.directory else None
    takers = [services.webhooks.take, *(one.take for one in (recorder, spans, diallers) if one)]
    feed = Feed(link, takers, spans.take_note if spans else None)
    work = [feed.run(), services.media.run(), *([recorder.run()] if recorder else [])]
    if diallers:
        diallers.start()
    if any(route.webhook for route in config.routes):
        work.append(Adviser(link, config.routes, read_signing_secret(config.http)).run())
    tasks = [loop.create_task(one) for one in work]
    for task in tasks:
        task.add_done_callback(lambda task: end_with(task, is_stopping))
    runner = web.AppRunner(make_app(services), access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=SHUTDOWN_S)
    try:
        status = await listen(runner, config.http.listen) if config.http.listen else "no HTTP: call records and webhooks only"
        log.info("%s", status)
        notify.notify(f"READY=1\nSTATUS={status}")
        tasks.append(loop.create_task(feed_watchdog()))
        await is_stopping.wait()
        notify.notify("STOPPING=1")
    finally:
        await runner.cleanup()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if recorder:
            await recorder.close()
        if diallers:
            await diallers.close()
        await services.webhooks.close()
        if spans:
            await asyncio.to_thread(spans.close)
        link.close()


def end_with(task: asyncio.Task[None], is_stopping: asyncio.Event) -> None:
    """Webhooks, records or figures would stand still, unnoticed: another process does better."""
    if not task.cancelled() and (failure := task.exception()) is not None:
        log.error("a bug: this process ends, and another takes its place; please report it", exc_info=failure)
        is_stopping.set()


async def listen(runner: web.AppRunner, address: str) -> str:
    """What it does now, in words. Raises ConfigurationError."""
    host, port = configuration.parse_address(address, "http.listen")
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port, backlog=BACKLOG).start()
    except OSError as failure:
        remedy = "another program has it (`ss -tlpn` shows which), or choose another port"
        raise ConfigurationError(f"http.listen: cannot listen on {address}: {failure.strerror}; {remedy}") from failure
    host, port = runner.addresses[0][:2]
    return f"listening for HTTP on {f'[{host}]' if ':' in host else host}:{port}"


async def feed_watchdog() -> None:
    interval_s = notify.watchdog_interval_s()
    while interval_s is not None:
        notify.notify("WATCHDOG=1")
        await asyncio.sleep(interval_s)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m control_plane.http", description="The HTTP API, the metrics and the call records.")
    parser.add_argument("--config", type=pathlib.Path, required=True, help="the configuration, TOML or JSON")
    given = parser.parse_args(arguments)
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    try:
        config = configuration.load(given.config)
        logs.configure(config.log_format, "http")
        if not config.needs_http:
            raise ConfigurationError('there is nothing to do: name http.listen, for example "127.0.0.1:8080", or records.file')
        runtime.prepare(config.runtime_path())
        asyncio.run(serve(config, context))
    except BellframeError as failure:
        print(f"bellframe: http: {failure}", file=sys.stderr)
        return 1
    finally:
        context.term()
    return 0
