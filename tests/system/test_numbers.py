"""Numbers: status and metrics, the latter read by a real Prometheus."""

import json
import re
import shutil
import subprocess
import urllib.request

import pytest

from harness import closed_port, free_port, wait_until
from test_service import Manager


@pytest.fixture
def busy(hookd, receive):
    good, bad = receive(), receive((503, {}, b""))
    hookd.admin.add_endpoint("good", good.url, tenant="acme")
    hookd.admin.add_endpoint("bad", bad.url, tenant="acme", retry_schedule_s=[3600])
    hookd.admin.add_endpoint("dead", f"http://127.0.0.1:{closed_port()}/", tenant="acme", retry_schedule_s=[])
    hookd.admin.add_endpoint("paused", good.url, tenant="acme")
    hookd.manage.post("/v1/endpoints/paused/pause", tenant="acme")
    for i in range(5):
        hookd.submit.submit("t", i, tenant="acme", idempotency_key=str(i))
    hookd.submit.submit("t", 0, tenant="acme", idempotency_key="0")
    hookd.submit.post("/v1/events", {"type": ""})
    hookd.submit.submit("nobody", 1)
    wait_until(lambda: len(bad.requests) == 5 and len(good.requests) == 5)
    # Attempts are over before their outcomes are committed.
    wait_until(lambda: (lambda status: status["sending"]["in_flight"] == 0 and
                        (status["queue"]["pending"], status["queue"]["dead"]) == (10, 5))(hookd.manage.get("/v1/status").json))
    return hookd


@pytest.mark.parametrize("end", ["cancelled", "removed with its endpoint"])
def test_a_dead_letter_counts_once_though_its_last_attempt_fails_after_that(hookd, receive, end):
    release = []
    receiver = receive(lambda r: wait_until(lambda: release, 20) and 500)
    hookd.admin.add_endpoint("slow", receiver.url, retry_schedule_s=[])
    event = hookd.submit.submit("t", 1)["id"]
    receiver.wait_for(1)
    if end == "cancelled":
        assert hookd.manage.post("/v1/deliveries/cancel", {"ids": [event]}).json["changed"] == 1
    else:
        assert hookd.admin.call("DELETE", "/v1/endpoints/slow").status == 204
    release.append(1)
    wait_until(lambda: hookd.manage.get(f"/v1/deliveries/{event}/slow").json["history"])
    hookd.submit.submit("t", 2)  # what was committed before has been counted before it is answered
    assert hookd.metric("hookd_deliveries_finished_total", state="dead") == 1
    assert "dead letter" not in hookd.log()


def test_status_says_how_hookd_is(busy):
    status = busy.manage.get("/v1/status").json
    assert status["version"] and status["started_at"].endswith("Z") and status["problems"] == []
    assert status["sending"]["state"] == "on" and status["sending"]["late_s"] == 0
    assert (status["sending"]["attempts_5m"], status["sending"]["ok_5m"]) == (15, 5)
    intake = status["intake"]
    assert intake["accepting"] is True and intake["code"] is None
    assert (intake["accepted_5m"], intake["accepted_total"], intake["duplicates_total"], intake["refused_total"]) == (6, 6, 1, 1)
    queue = status["queue"]
    assert (queue["pending"], queue["held"], queue["dead"]) == (10, 0, 5)
    assert queue["oldest_pending_at"] and queue["newest_dead_at"]
    assert status["endpoints"] == {"total": 4, "failing": 2, "paused": 1}
    assert status["senders"] == {"wanted": 2, "running": 2, "restarts_total": 0}
    assert [e["name"] for e in status["worst"]][-1] == "dead" and len(status["worst"]) == 3
    store = status["store"]
    assert 0 < store["used_bytes"] < store["budget_bytes"] and store["disk_free_bytes"] > 0 and store["commit_ms"] > 0


def test_metrics_agree_with_what_happened(busy):
    value = busy.metric
    assert value("hookd_submitted_events_total", outcome="accepted") == 6
    assert value("hookd_submitted_events_total", outcome="duplicate") == 1
    assert value("hookd_submitted_events_total", outcome="invalid") == 1
    assert value("hookd_unmatched_events_total") == 1
    assert value("hookd_queue_deliveries", state="pending") == 10
    assert value("hookd_queue_deliveries", state="delivered") == 5
    assert value("hookd_queue_deliveries", state="dead") == 5
    assert value("hookd_queue_oldest_age_seconds", state="pending") > 0
    assert value("hookd_deliveries_finished_total", state="delivered") == 5
    assert value("hookd_deliveries_finished_total", state="dead") == 5
    assert value("hookd_attempts_total", result="ok", http_class="2xx") == 5
    assert value("hookd_attempts_total", result="status", http_class="5xx") == 5
    assert value("hookd_attempts_total", result="connect", http_class="none") == 5
    assert value("hookd_attempt_duration_seconds_count") == 15
    assert value("hookd_attempt_duration_seconds_bucket", le="+Inf") == 15
    assert value("hookd_attempt_lateness_seconds_count") == 15
    assert value("hookd_commit_duration_seconds_count") > 5
    assert value("hookd_endpoints", health="failing") == 2
    assert value("hookd_endpoints", health="ok") == 1
    assert value("hookd_endpoints", health="untried") == 1
    assert value("hookd_endpoints_paused", by="request") == 1
    assert value("hookd_sending_paused") == 0
    assert value("hookd_senders") == 2
    assert value("hookd_api_requests_total", role="submit", http_status="202") == 7
    assert value("hookd_store_used_bytes") > 0 and value("hookd_store_budget_bytes") == 256 << 20
    assert value("process_open_fds") > 5 and value("process_cpu_seconds_total") > 0


def test_the_text_is_well_formed(busy):
    answer = busy.metrics.get("/metrics")
    assert answer.headers["Content-Type"] == "application/openmetrics-text; version=1.0.0; charset=utf-8"
    lines = answer.body.decode().splitlines()
    assert lines[-1] == "# EOF"
    families, current = {}, None
    for line in lines[:-1]:
        if line.startswith("# TYPE "):
            _, _, current, kind = line.split()
            assert current not in families, "a family is one block"
            families[current] = kind
        elif line.startswith("# HELP "):
            assert line.split()[2] == current
        else:
            name = re.match(r"[a-z_]+", line)[0]
            suffixes = {"counter": ["_total"], "gauge": [""], "info": ["_info"],
                        "histogram": ["_bucket", "_sum", "_count"]}[families[current]]
            assert name in [current + suffix for suffix in suffixes], line
            assert re.fullmatch(r'[a-z_]+(\{[a-z_]+="[^"]*"(,[a-z_]+="[^"]*")*\})? [-+.0-9eE]+', line), line
    assert not any("endpoint=" in line or "tenant=" in line for line in lines)


def test_prometheus_reads_the_metrics(make_hookd, directory):
    prometheus = shutil.which("prometheus")
    assert prometheus, "the package prometheus has it"
    manager = Manager(make_hookd(start=False))
    port = manager.add_tcp()
    manager.start()
    for i in range(7):
        manager.hookd.submit.submit("t", i)
    own = free_port()
    with open(directory + "/prometheus.yml", "w") as file:
        file.write("scrape_configs:\n- job_name: hookd\n  scrape_interval: 1s\n  scrape_timeout: 1s\n"
                   f"  static_configs:\n  - targets: ['127.0.0.1:{port}']\n")
    server = subprocess.Popen([prometheus, f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb",
                               f"--web.listen-address=127.0.0.1:{own}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def query(expression):
        try:
            url = f"http://127.0.0.1:{own}/api/v1/query?query={urllib.parse.quote(expression)}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return json.load(answer)["data"]["result"]
        except OSError:
            return []

    def wait_for(expression):
        """What Prometheus finds; on a busy machine it may be late with a look, and then finds nothing for a while."""
        return wait_until(lambda: query(expression), 30, expression)[0]

    try:
        assert wait_for('hookd_submitted_events_total{outcome="accepted"}')["value"][1] == "7"
        assert wait_for('up{job="hookd"} == 1')
        assert wait_for("hookd_build_info")["metric"]["version"]
        assert wait_for("histogram_quantile(0.5, hookd_commit_duration_seconds_bucket)")
        assert wait_for('scrape_samples_scraped{job="hookd"} > 50')
    finally:
        server.kill()
        server.wait()
        manager.close()
