"""A hookd that has nothing to do, with endpoints, history and a retry that is due tomorrow."""

import time

from measure import Row, hookd, nginx


def settle(daemon):
    """Until the work of before is done, and connections that nobody needs are closed."""
    before = -1
    while daemon.wakeups() - before > 1:
        before = daemon.wakeups()
        time.sleep(3)


def wakeups(bench, directory):
    seconds = bench.size(60, 12)
    with nginx(directory) as url, hookd(directory) as daemon:
        daemon.admin.add_endpoint("e", url)
        daemon.admin.add_endpoint("later", "http://127.0.0.1:1025/", retry_schedule_s=[86400] * 3)
        daemon.load(n=1000, b=100)
        settle(daemon)
        before = daemon.wakeups()
        cpu = sum(daemon.cpu().values())
        time.sleep(seconds)
        return {"a minute": (daemon.wakeups() - before) * 60 / seconds,
                "cpu ms a minute": (sum(daemon.cpu().values()) - cpu) * 60000 / seconds}


MEASUREMENTS = {"hookd, idle": wakeups}


def rows(get):
    yield Row("wake-ups a minute, of all threads and senders", get("hookd, idle", "a minute"), "", 0.1,
              "none but the watchdog's, and there is none here", below=True,
              note=f"{get('hookd, idle', 'cpu ms a minute'):.2f} ms of CPU a minute")
