"""Twilio's official helper library as a peer: its client against our simulator, its validator against our signatures.

    twilio_helper.py client BASE SID TOKEN      one JSON line a question
    twilio_helper.py calls BASE SID TOKEN       the same about calls; answering must take longer than this script
    twilio_helper.py server TOKEN               prints "port N", then one JSON line a webhook received
    twilio_helper.py twiml BASE CASES-JSON      the library's TwiML for each document, compared with ours as canonical XML
    twilio_helper.py post TOKEN SIGNED_BASE LISTENER PATH BODY-JSON    posts a signed form, prints the status
"""

import datetime
import http.server
import json
import sys
import time
import unicodedata
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree

from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.request_validator import RequestValidator
from twilio.rest import Client
from twilio.twiml.voice_response import Gather, VoiceResponse

HOST = "https://api.twilio.com"


class Elsewhere(TwilioHttpClient):
    """The library's own HTTP client, with another host."""

    def __init__(self, base):
        super().__init__()
        self.base = base

    def request(self, method, uri, *args, **kwargs):
        return super().request(method, uri.replace(HOST, self.base), *args, **kwargs)


def show(**fields):
    print(json.dumps(fields), flush=True)


def refused(name, call):
    try:
        call()
        show(name=name, status=0, code=0)
    except TwilioRestException as error:
        show(name=name, status=error.status, code=error.code)


def client(base, sid, token):
    twilio = Client(sid, token, http_client=Elsewhere(base))
    create = twilio.messages.create
    made = create(to="+15550002222", from_="+15550001111", body="from the helper library")
    show(name="create", sid=made.sid, status=made.status, segments=made.num_segments, direction=made.direction)
    fetched = twilio.messages(made.sid).fetch()
    show(name="fetch", sid=fetched.sid, body=fetched.body, dated=fetched.date_created is not None)
    for number in range(6):
        create(to="+15550003333", from_="+15550001111", body=f"page {number}")
    rows = twilio.messages.list(to="+15550003333", page_size=2)
    show(name="list", bodies=[row.body for row in rows])
    refused("to", lambda: create(to="nobody", from_="+15550001111", body="x"))
    refused("from", lambda: create(to="+15550002222", from_="+15550009999", body="x"))
    refused("no sender", lambda: create(to="+15550002222", body="x"))
    refused("long", lambda: create(to="+15550002222", from_="+15550001111", body="x" * 1601))
    refused("unknown", lambda: twilio.messages("SM" + "0" * 32).fetch())
    wrong = Client(sid, "wrong", http_client=Elsewhere(base))
    refused("credentials", lambda: wrong.messages.create(to="+15550002222", from_="+15550001111", body="x"))


def calls(base, sid, token):
    twilio = Client(sid, token, http_client=Elsewhere(base))
    create = twilio.calls.create
    ours, person, other = "+15550001111", "+15550002222", "+15550003333"
    events = ["initiated", "ringing", "answered", "completed"]
    made = create(to=person, from_=ours, twiml="<Response/>", timeout=30, machine_detection="Enable", status_callback_event=events)
    show(name="create", sid=made.sid, status=made.status, direction=made.direction)
    fetched = twilio.calls(made.sid).fetch()
    show(name="fetch", sid=fetched.sid, to=fetched.to, shown=fetched.to_formatted, dated=fetched.date_created is not None)
    sids = {create(to=other, from_=ours, url="http://127.0.0.1:9/answer").sid for _ in range(5)}
    deadline = time.monotonic() + 15
    while len(twilio.calls.list(to=other, status="failed")) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    rows = twilio.calls.list(to=other, page_size=2)
    today = datetime.datetime.now(datetime.timezone.utc)
    day = datetime.timedelta(days=1)
    started = twilio.calls.list(to=other, from_=ours, start_time_after=today - day, start_time_before=today + day)
    later = twilio.calls.list(start_time_after=today + 2 * day)
    queued = twilio.calls.list(to=other, status="queued")
    own = {row.sid for row in rows} == sids
    show(name="list", count=len(rows), own=own, started=len(started), later=len(later), queued=len(queued))
    ended = twilio.calls(made.sid).update(status="canceled")
    show(name="cancel", status=ended.status, duration=ended.duration)
    refused("again", lambda: twilio.calls(made.sid).update(status="completed"))
    refused("no document", lambda: create(to=person, from_=ours))
    refused("to", lambda: create(to="nobody", from_=ours, twiml="<Response/>"))
    refused("from", lambda: create(to=person, from_="+15550009999", twiml="<Response/>"))
    refused("unknown", lambda: twilio.calls("CA" + "0" * 32).fetch())
    wrong = Client(sid, "wrong", http_client=Elsewhere(base))
    refused("credentials", lambda: wrong.calls.create(to=person, from_=ours, twiml="<Response/>"))


def server(token):
    validator = RequestValidator(token)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            params = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
            url = f"http://127.0.0.1:{self.server.server_port}{self.path}"
            valid = validator.validate(url, params, self.headers["X-Twilio-Signature"])
            self.send_response(204)
            self.end_headers()
            show(valid=valid, path=self.path, params=params)

        def log_message(self, *_):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        print(f"port {listener.server_port}", flush=True)
        listener.serve_forever()


def twiml(base, cases):
    for case in json.loads(cases):
        theirs = str(library_response(base, case["document"]))
        canonical = [xml.etree.ElementTree.canonicalize(text) for text in (case["ours"], theirs)]
        show(name=case["name"], equal=canonical[0] == canonical[1], ours=canonical[0], theirs=canonical[1])


def library_response(base, document):
    response = VoiceResponse()
    say = {"language": document["language"]}
    if document["voice"]:
        say["voice"] = document["voice"]

    def url(action):
        path = f"/main/system/twilio-voice/{action}/{document['id']}?turn={document['turn']}"
        return base + path + "#rc=3&rp=5xx,ct,rt"

    for place, verb in enumerate(document["verbs"]):
        kind, value = (verb, None) if isinstance(verb, str) else next(iter(verb.items()))
        if kind == "Say":
            response.say(printable(value), **say)
        elif kind == "Pause":
            response.pause(length=whole_seconds(value))
        elif kind == "Redirect":
            response.redirect(url(value), method="POST")
        elif kind == "Hangup":
            response.hangup()
        elif kind == "Reject":
            response.reject()
        else:
            end = {"num_digits": value["digits"]} if value["digits"] else {"finish_on_key": "#"}
            timeout = whole_seconds(value["timeout"])
            target = url(value["action"])
            gather = Gather(input="dtmf", action=target, method="POST", timeout=timeout, action_on_empty_result=True, **end)
            for text in value["say"]:
                gather.say(printable(text), **say)
            response.append(gather)
            if place + 1 == len(document["verbs"]):
                response.redirect(target, method="POST")
    return response


def printable(text):
    return "".join(" " if unicodedata.category(letter) == "Cc" else letter for letter in text).strip()


def whole_seconds(time):
    return time["secs"] + (time["nanos"] > 0)


class Repeated(dict):
    """Parameters as web frameworks hand them over: several values a key."""

    def getlist(self, key):
        value = self[key]
        return value if isinstance(value, list) else [value]


def post(token, signed_base, listener, path, params):
    params = Repeated(json.loads(params))
    signature = RequestValidator(token).compute_signature(signed_base + path, params)
    form = urllib.parse.urlencode(params, doseq=True).encode()
    request = urllib.request.Request(listener + path, form, {"X-Twilio-Signature": signature})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            show(status=answer.status)
    except urllib.error.HTTPError as error:
        show(status=error.code)


{"client": client, "calls": calls, "twiml": twiml, "server": server, "post": post}[sys.argv[1]](*sys.argv[2:])
