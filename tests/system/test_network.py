"""Names, addresses and TLS: requests go only where they may, and only to whom they are meant for."""

import os
import ssl
import time

import pytest

from authority import Authority
from harness import closed_port, wait_until
from nameserver import NS, REFUSED, SERVFAIL, SILENCE, Names, Reply


# ---- Certificates -----------------------------------------------------------------------------


@pytest.fixture
def authority(directory):
    path = os.path.join(directory, "authority")
    os.mkdir(path)
    return Authority(path)


def trust(authority):
    return {"network": {"ca_file": authority.certificate, "allow_private": "127.0.0.0/8"}}


def last_attempt(hookd, name, url, **members):
    """What comes of one event to an endpoint at the url, without retries."""
    hookd.admin.add_endpoint(name, url, types=[name], retry_schedule_s=[], **members)
    event = hookd.submit.submit(name, 1)["id"]
    return wait_until(lambda: hookd.manage.delivery(event, name)["last_attempt"], 20)


def test_tls_is_verified_against_the_configured_authorities(make_hookd, authority, receive):
    hookd = make_hookd(trust(authority), local=False)
    receiver = receive(tls=authority.issue(["IP:127.0.0.1"]))
    assert last_attempt(hookd, "good", receiver.url)["result"] == "ok"


def test_plain_http_behind_https_is_a_tls_failure(make_hookd, receive):
    hookd = make_hookd()
    receiver = receive()
    attempt = last_attempt(hookd, "plain", receiver.url.replace("http:", "https:"))
    assert attempt["result"] == "tls" and receiver.requests == []


def test_an_endpoints_own_authority_is_used_for_it_alone(make_hookd, authority, receive):
    hookd = make_hookd({"network": {"allow_private": "127.0.0.0/8"}}, local=False, start=False)
    os.mkdir(os.path.join(hookd.directory, "ca"))
    with open(authority.certificate) as source, open(os.path.join(hookd.directory, "ca", "partner.pem"), "w") as copy:
        copy.write(source.read())
    hookd.start()
    receiver = receive(tls=authority.issue(["IP:127.0.0.1"]))
    assert last_attempt(hookd, "partner", receiver.url, ca="partner.pem")["result"] == "ok"
    assert last_attempt(hookd, "stranger", receiver.url)["result"] == "tls"


@pytest.mark.parametrize("form", [None, "DER", "PEM of a key alone", "PEM that ends within"])
def test_an_authority_file_that_cannot_be_read_costs_no_attempt_and_is_named(make_hookd, authority, receive, form):
    hookd = make_hookd({"network": {"allow_private": "127.0.0.0/8"}}, local=False, start=False)
    os.mkdir(os.path.join(hookd.directory, "ca"))
    with open(authority.certificate, "rb") as certificate, open(authority.key, "rb") as key:
        pem, private = certificate.read(), key.read()
    content = {"DER": ssl.PEM_cert_to_DER_cert(pem.decode()), "PEM of a key alone": private,
               "PEM that ends within": pem + pem[:100]}.get(form)
    if content:
        with open(os.path.join(hookd.directory, "ca", "partner.pem"), "wb") as file:
            file.write(content)
    hookd.start()
    receiver = receive(tls=authority.issue(["IP:127.0.0.1"]))
    hookd.admin.add_endpoint("e", receiver.url, ca="partner.pem")
    event = hookd.submit.submit("t", 1)["id"]
    wait_until(lambda: "an attempt for e cannot be made: its CA file partner.pem cannot be read" in hookd.log())
    delivery = hookd.manage.delivery(event, "e")
    assert delivery["state"] == "pending" and delivery["attempts"] == 0 and delivery["history"] == []
    assert problems(hookd) == [] and "ca_file" not in hookd.log()


# ---- Names ------------------------------------------------------------------------------------


@pytest.fixture
def names():
    server = Names()
    yield server
    server.close()


@pytest.fixture
def resolving(make_hookd, names):
    return make_hookd({"network": {"dns_servers": names.server}, "senders": {"count": "1"}})


def test_a_name_is_resolved_and_kept_for_a_while(resolving, names, receive):
    receiver = receive()
    names.answers["hooks.example.com"] = Reply(["127.0.0.1"], ttl=60)
    resolving.admin.add_endpoint("e", f"http://hooks.example.com:{receiver.port}/")
    for i in range(3):
        event = resolving.submit.submit("t", i)["id"]
        assert resolving.manage.wait_for(event, "e", "delivered")["attempts"] == 1
        names.answers = {"*": SILENCE}  # whoever asks again hears nothing
    assert receiver.requests[0].headers["Host"] == f"hooks.example.com:{receiver.port}"


def test_a_name_without_address_is_a_dns_failure(resolving, names):
    attempt = last_attempt(resolving, "gone", "http://gone.example.com:8080/")
    assert attempt["result"] == "dns" and attempt["message"] == "DNS: gone.example.com has no address"


def test_a_failing_server_is_a_dns_failure(resolving, names):
    names.answers["broken.example.com"] = SERVFAIL
    attempt = last_attempt(resolving, "broken", "http://broken.example.com:8080/")
    assert attempt["result"] == "dns" and "broken.example.com" in attempt["message"]


def test_authorities_that_cannot_be_read_cost_no_attempt_and_are_a_problem_of_hookd(make_hookd, authority, receive):
    receiver = receive(tls=authority.issue(["IP:127.0.0.1"]))
    with open(authority.certificate) as file:
        certificate = file.read()
    with open(authority.certificate, "w") as file:
        file.write("no certificate")
    hookd = make_hookd(trust(authority), local=False)
    hookd.admin.add_endpoint("e", receiver.url, retry_schedule_s=[])
    event = hookd.submit.submit("t", 1)["id"]
    status = wait_until(lambda: (lambda s: s if s["problems"] else None)(hookd.manage.get("/v1/status").json), 30)
    assert [p["code"] for p in status["problems"]] == ["cannot_send"] and "ca_file" in status["problems"][0]["message"]
    assert hookd.manage.delivery(event, "e")["attempts"] == 0
    with open(authority.certificate, "w") as file:
        file.write(certificate)  # senders that know it take over without being asked to
    assert hookd.manage.wait_for(event, "e", "delivered", 60)["attempts"] == 1


def test_an_authority_that_is_added_is_trusted_without_a_reload(make_hookd, authority, receive, directory):
    path = os.path.join(directory, "other")
    os.mkdir(path)
    other = Authority(path)
    hookd = make_hookd(trust(authority), local=False)
    receiver = receive(tls=other.issue(["IP:127.0.0.1"]))
    assert last_attempt(hookd, "before", receiver.url)["result"] == "tls"
    with open(authority.certificate + ".new", "w") as bundle:
        for part in (authority.certificate, other.certificate):
            with open(part) as file:
                bundle.write(file.read())
    os.rename(bundle.name, authority.certificate)  # as update-ca-certificates(8) does
    wait_until(lambda: f"{authority.certificate} has changed; new senders take over" in hookd.log(), 20)
    assert last_attempt(hookd, "after", receiver.url)["result"] == "ok"


def test_the_search_list_is_not_used(resolving, names):
    last_attempt(resolving, "x", "http://x.example.com:8080/")
    assert {name for name, _ in names.asked} - {""} == {"x.example.com"}


# Whose fault it is that a name does not resolve: the servers', or its own?


def problems(hookd):
    return [problem["code"] for problem in hookd.manage.get("/v1/status").json["problems"]]


def add_named(hookd, name, port, **members):
    """An endpoint that gets one attempt, at NAME.example.com, and an event for it; returns its id."""
    hookd.admin.add_endpoint(name, f"http://{name}.example.com:{port}/", types=[name], retry_schedule_s=[], **members)
    return hookd.submit.submit(name, 1)["id"]


def assert_costs_nothing(hookd, event, name, seconds):
    """The delivery waits, and hookd says that it has no DNS."""
    wait_until(lambda: problems(hookd) == ["no_dns"], seconds)
    time.sleep(1)
    delivery = hookd.manage.delivery(event, name)
    assert delivery["state"] == "pending" and delivery["attempts"] == 0 and delivery["history"] == []


def assert_is_the_names_fault(hookd, event, name, seconds):
    delivery = hookd.manage.wait_for(event, name, "dead", seconds)
    assert delivery["attempts"] == 1 and delivery["last_attempt"]["result"] == "dns"
    assert f"{name}.example.com" in delivery["last_attempt"]["message"]
    assert "no DNS server answers" not in hookd.log()


def resolve_good(hookd, names, receiver):
    """A name that resolves, and is known from then on; the root has been asked about as well."""
    names.answers["good.example.com"] = ["127.0.0.1"]
    hookd.manage.wait_for(add_named(hookd, "good", receiver.port), "good", "delivered")
    wait_until(lambda: ("", NS) in names.asked)


def bring_back(names, name):
    """The servers answer again, but for that name alone: any other answer, to a question that hookd asks beside one
    which the silence has cost all its tries, would make that silence the name's fault."""
    names.answers = {f"{name}.example.com": ["127.0.0.1"], "good.example.com": SILENCE, "": SILENCE}


def is_remembered(hookd, name):
    """Whether the endpoint's next delivery needs no DNS server."""
    event = hookd.submit.submit(name, 1)["id"]
    return hookd.manage.wait_for(event, name, "delivered")["attempts"] == 1


@pytest.mark.parametrize("members", [{"timeout_s": 1}, {"timeout_s": 5}, {}])
def test_silence_of_our_own_server_costs_no_attempt_and_is_a_problem_of_hookd(resolving, names, receive, members):
    receiver = receive()
    names.answers["*"] = SILENCE
    event = add_named(resolving, "hooks", receiver.port, **members)
    assert_costs_nothing(resolving, event, "hooks", 20)
    bring_back(names, "hooks")
    assert resolving.manage.wait_for(event, "hooks", "delivered", 30)["attempts"] == 1
    assert problems(resolving) == []


@pytest.mark.parametrize("members", [{"timeout_s": 3}, {}])
def test_silence_of_all_our_servers_costs_no_attempt(make_hookd, names, members):
    other = Names()
    names.answers["*"] = other.answers["*"] = SILENCE
    hookd = make_hookd({"network": {"dns_servers": f"{names.server} {other.server}"}})
    assert_costs_nothing(hookd, add_named(hookd, "hooks", 8080, **members), "hooks", 20)


@pytest.mark.parametrize("trouble", [SILENCE, REFUSED])
def test_servers_that_have_just_failed_cost_no_attempt(resolving, names, receive, trouble):
    receiver = receive()
    resolve_good(resolving, names, receiver)
    names.answers["*"] = trouble
    event = add_named(resolving, "next", receiver.port)
    assert_costs_nothing(resolving, event, "next", 20)
    bring_back(names, "next")
    assert resolving.manage.wait_for(event, "next", "delivered", 30)["attempts"] == 1


def test_a_refusal_by_servers_that_are_back_at_once_costs_no_attempt(resolving, names, receive):
    receiver = receive()
    resolve_good(resolving, names, receiver)
    before = len(names.asked)
    is_back = lambda: ("", NS) in names.asked[before:]  # whether hookd has asked if there is anybody
    names.answers["next.example.com"] = lambda: ["127.0.0.1"] if is_back() else REFUSED
    event = add_named(resolving, "next", receiver.port)
    assert resolving.manage.wait_for(event, "next", "delivered")["attempts"] == 1


def test_a_dns_server_that_does_not_run_costs_no_attempt(make_hookd):
    hookd = make_hookd({"network": {"dns_servers": f"127.0.0.1:{closed_port()}"}})
    assert_costs_nothing(hookd, add_named(hookd, "hooks", 8080), "hooks", 5)


def test_names_of_etc_hosts_are_no_sign_that_dns_works(resolving, names, receive):
    receiver = receive()
    names.answers["*"] = SILENCE
    resolving.admin.add_endpoint("hosts", f"http://localhost:{receiver.port}/", types=["hosts"],
                                 allow_private=["127.0.0.0/8", "::1/128"])
    event = add_named(resolving, "hooks", receiver.port, timeout_s=9)
    for i in range(24):
        other = resolving.submit.submit("hosts", i)["id"]
        resolving.manage.wait_for(other, "hosts", "delivered")
        time.sleep(0.5)
    assert resolving.manage.delivery(event, "hooks")["attempts"] == 0


def test_what_a_forwarder_without_servers_remembers_is_no_sign_that_dns_works(resolving, names, receive):
    receiver = receive()
    resolve_good(resolving, names, receiver)
    names.answers = {"good.example.com": ["127.0.0.1"], "": SILENCE, "hooks.example.com": SILENCE}
    assert_costs_nothing(resolving, add_named(resolving, "hooks", receiver.port), "hooks", 20)


def test_a_silent_name_beside_others_that_resolve_is_that_names_fault(resolving, names, receive):
    receiver = receive()
    resolve_good(resolving, names, receiver)
    names.answers["silent.example.com"] = SILENCE
    event = add_named(resolving, "silent", receiver.port)
    for i in range(10):
        other = resolving.submit.submit("good", i)["id"]
        resolving.manage.wait_for(other, "good", "delivered")
        time.sleep(0.3)
    assert_is_the_names_fault(resolving, event, "silent", 20)


@pytest.mark.parametrize("members", [{"timeout_s": 3}, {"timeout_s": 5}, {}])
def test_a_silent_name_is_its_own_fault_though_no_other_is_asked_for(resolving, names, members):
    names.answers["silent.example.com"] = SILENCE
    event = add_named(resolving, "silent", 8080, **members)
    assert_is_the_names_fault(resolving, event, "silent", 20)


def test_a_refused_name_is_its_own_fault(resolving, names):
    names.answers["refused.example.com"] = REFUSED
    event = add_named(resolving, "refused", 8080)
    assert_is_the_names_fault(resolving, event, "refused", 5)


@pytest.mark.parametrize("rest", [SILENCE, REFUSED])
def test_a_server_that_knows_some_names_only_is_no_reason_to_try_others_for_ever(resolving, names, receive, rest):
    receiver = receive()
    names.answers.update({"": rest, "odd.example.com": rest})
    resolve_good(resolving, names, receiver)
    event = add_named(resolving, "odd", receiver.port)
    assert_is_the_names_fault(resolving, event, "odd", 20)
    assert is_remembered(resolving, "good")


def test_many_attempts_for_a_silent_name_ask_once_and_end_together(resolving, names):
    names.answers["silent.example.com"] = SILENCE
    add_named(resolving, "silent", 8080, timeout_s=4, max_in_flight=50)
    batch = b"\n".join(b'{"type": "silent", "data": 1}' for _ in range(50))
    stored = resolving.submit.call("POST", "/v1/events", batch, {"Content-Type": "application/x-ndjson"}).json["items"]
    begin = time.monotonic()
    for event in stored:
        assert_is_the_names_fault(resolving, event["id"], "silent", 20)
    # What was found is remembered for five seconds; each question is sent three times.
    n_questions = 2 + (time.monotonic() - begin) // 5
    assert len([q for q in names.asked if q == ("silent.example.com", 1)]) <= 3 * n_questions


@pytest.mark.parametrize("answer, state", [(["127.0.0.1"], "delivered"), (SILENCE, "dead")])
def test_one_server_of_two_is_enough(make_hookd, names, receive, answer, state):
    receiver, other = receive(), Names()
    names.answers["*"] = SILENCE
    other.answers["hooks.example.com"] = answer
    hookd = make_hookd({"network": {"dns_servers": f"{names.server} {other.server}"}})
    event = add_named(hookd, "hooks", receiver.port, timeout_s=3)
    delivery = hookd.manage.wait_for(event, "hooks", state, 20)
    assert delivery["attempts"] == 1 and problems(hookd) == []


def test_when_an_address_does_not_answer_the_next_is_tried(resolving, names, receive):
    receiver = receive(address="127.0.0.2")
    names.answers["two.example.com"] = ["127.0.0.1", "127.0.0.2"]
    resolving.admin.add_endpoint("e", f"http://two.example.com:{receiver.port}/")
    event = resolving.submit.submit("t", 1)["id"]
    delivery = resolving.manage.wait_for(event, "e", "delivered")
    assert delivery["attempts"] == 1 and delivery["last_attempt"]["address"] == f"127.0.0.2:{receiver.port}"


@pytest.mark.parametrize("addresses, words", [
    (["10.0.0.1"], "a private network"),
    (["93.184.216.34", "127.0.0.1"], "loopback"),
    (["169.254.169.254"], "link-local"),
    (["::1"], "not a public IPv6 network"),
    (["::ffff:127.0.0.1"], "loopback"),
    (["fd00:ec2::254"], "not a public IPv6 network"),
    (["168.63.129.16"], "Azure"),
])
def test_a_name_that_leads_inside_is_refused_before_any_connection(make_hookd, names, receive, addresses, words):
    hookd = make_hookd({"network": {"dns_servers": names.server, "allow_http": "yes"}}, local=False)
    receiver = receive()
    names.answers["evil.example.com"] = addresses
    attempt = last_attempt(hookd, "evil", f"http://evil.example.com:{receiver.port}/")
    assert attempt["result"] == "address" and words in attempt["message"] and "evil.example.com" in attempt["message"]
    assert receiver.requests == []


def test_an_address_that_turns_bad_later_is_refused_later(make_hookd, names, receive):
    hookd = make_hookd({"network": {"dns_servers": names.server, "allow_private": "127.0.0.2/32", "allow_http": "yes"}},
                       local=False)
    good, inner = receive(address="127.0.0.2"), receive()
    names.answers["shifty.example.com"] = ["127.0.0.2"]
    hookd.admin.add_endpoint("e", f"http://shifty.example.com:{good.port}/", retry_schedule_s=[])
    event = hookd.submit.submit("t", 1)["id"]
    hookd.manage.wait_for(event, "e", "delivered")
    names.answers["shifty.example.com"] = ["127.0.0.1"]
    time.sleep(5.5)  # what was resolved is kept for five seconds at least
    event = hookd.submit.submit("t", 2)["id"]
    delivery = hookd.manage.wait_for(event, "e", "dead")
    assert delivery["last_attempt"]["result"] == "address"
    assert inner.requests == []


def test_denied_networks_win_over_allowed_ones(make_hookd, receive):
    hookd = make_hookd({"network": {"deny": "127.0.0.1/32"}})
    receiver = receive()
    for more in [{}, {"allow_private": ["127.0.0.1/32"]}]:
        answer = hookd.admin.post("/v1/endpoints", {"url": receiver.url, **more})
        assert answer.status == 400 and "denied by the configuration" in answer.json["detail"]
        assert "allow_private" not in answer.json["detail"]  # advice that would not help


def test_after_a_reload_a_kept_connection_is_not_used_where_it_may_not_go(hookd, receive):
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url, retry_schedule_s=[])
    event = hookd.submit.submit("t", 1)["id"]
    hookd.manage.wait_for(event, "e", "delivered")
    hookd.configure({"network": {"deny": "127.0.0.1/32"}})
    hookd.reload()
    event = hookd.submit.submit("t", 2)["id"]
    assert hookd.manage.wait_for(event, "e", "dead")["last_attempt"]["result"] == "address"
    assert len(receiver.requests) == 1


def test_plain_http_that_is_allowed_no_more_is_refused_at_the_next_attempt(make_hookd, receive):
    hookd = make_hookd()
    receiver = receive()
    hookd.admin.add_endpoint("e", receiver.url, retry_schedule_s=[])
    hookd.configure({"network": {"allow_http": "no"}})
    hookd.reload()
    event = hookd.submit.submit("t", 1)["id"]
    attempt = hookd.manage.wait_for(event, "e", "dead")["last_attempt"]
    assert attempt["result"] == "address" and "plain http" in attempt["message"] and receiver.requests == []


def test_a_proxy_in_the_environment_is_not_used(make_hookd, receive):
    hookd = make_hookd(start=False)
    proxy, receiver = receive(), receive()
    hookd.start(env={**os.environ, "http_proxy": proxy.url, "ALL_PROXY": proxy.url})
    hookd.admin.add_endpoint("e", receiver.url)
    event = hookd.submit.submit("t", 1)["id"]
    hookd.manage.wait_for(event, "e", "delivered")
    assert proxy.requests == []
