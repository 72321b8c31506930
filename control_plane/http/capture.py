"""/v1/calls/{call_id}/capture: the packets of a call, as they come."""

import asyncio
import time

from aiohttp import web

from control_plane import pcap
from control_plane.commands.call_capture import AGAIN_S, LOOK_S, SETTLED_S, CallCapture
from control_plane.http.events import WRITE_LIMIT_S
from control_plane.http.link import Line
from control_plane.http.problem import Refusal, of_failed
from control_plane.http.services import SERVICES
from control_plane.messages import CaptureCall, Failed, GetTrace, Watch

MAX_CAPTURES = 4
MAX_SECONDS = 86_400.0


async def stream(request: web.Request) -> web.StreamResponse:
    """RTP, RTCP and SIP as a pcap file, until the call ends or ?seconds= are over. ?encrypted=true: SRTP as on the wire, without keys."""
    services, call_id = request.app[SERVICES], request.match_info["call_id"]
    is_encrypted, seconds = request.query.get("encrypted") == "true", _seconds(request.query.get("seconds", ""))
    if services.captures >= MAX_CAPTURES:
        raise Refusal(503, f"{MAX_CAPTURES} captures run already, and no more may; end one of them", {"Retry-After": "30"})
    services.captures += 1
    line: Line | None = None
    try:
        answer = await services.link.ask(CaptureCall(call_id, is_encrypted))
        if isinstance(answer, Failed):
            raise of_failed(answer)
        try:
            capture = await asyncio.to_thread(CallCapture, services.config.runtime_path(), is_encrypted)
        except (OSError, ValueError) as failure:
            raise Refusal(503, f"cannot read the packets: {failure}") from failure
        capture.receive(answer)
        line = services.link.open_line()
        response = web.StreamResponse(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        response.content_type = "application/vnd.tcpdump.pcap"
        await response.prepare(request)
        await response.write(pcap.header())
        await _copy(line, CaptureCall(call_id, is_encrypted), capture, seconds, response)
        return response
    finally:
        services.captures -= 1
        if line is not None:
            line.close()


def _seconds(text: str) -> float:
    try:
        seconds = float(text or MAX_SECONDS)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= MAX_SECONDS:
        raise Refusal(400, f"seconds: a number up to {MAX_SECONDS:g}")
    return seconds


async def _copy(line: Line, order: CaptureCall, capture: CallCapture, seconds: float, response: web.StreamResponse) -> None:
    """Until the call is over, the time is, or nobody reads."""
    loop = asyncio.get_running_loop()
    end, again = loop.time() + seconds, 0.0
    line.send(GetTrace(order.call_id))
    try:
        while loop.time() < end and not capture.is_over():
            if loop.time() >= again:
                line.send(order)
                line.send(Watch(order.call_id))
                again = loop.time() + AGAIN_S
            await asyncio.sleep(LOOK_S)
            for message in await line.receive(0):
                if capture.receive(message):
                    end = min(end, loop.time() + SETTLED_S)
            octets = capture.take(time.time() - SETTLED_S)
            if octets:
                async with asyncio.timeout(WRITE_LIMIT_S):
                    await response.write(octets)
        await response.write(capture.take(float("inf")))
    except (ConnectionResetError, TimeoutError):
        return
