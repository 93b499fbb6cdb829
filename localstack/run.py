"""LocalStack as a plain process, without Docker: run.py DIR. start.sh runs it and sets its environment.

Two things of LocalStack are set right. Its server binds all interfaces whatever GATEWAY_LISTEN says, and says "Ready."
when it could not bind at all: here it binds 127.0.0.1 or ends. And all LocalStacks on a machine share one folder in
/tmp for larger objects, so that one removes the other's buckets: here it is below TMPDIR.

DIR is not read: it tells stop.sh which process is whose.
"""

import os
import sys

from twisted.internet import endpoints


class LoopbackEndpoint(endpoints.TCP4ServerEndpoint):
    def __init__(self, reactor, port):
        super().__init__(reactor, port, interface="127.0.0.1")

    def listen(self, factory):
        return super().listen(factory).addCallbacks(bound, not_bound)


def bound(port):
    # start.sh waits for this line: that the port answers would not tell whose it is.
    print(f"run.py: listening on {port.getHost().host}:{port.getHost().port}", flush=True)
    return port


def not_bound(failure):
    print(f"run.py: {failure.type.__name__}: {failure.getErrorMessage()}", flush=True)
    os._exit(1)  # the main thread, where an exception would be swallowed


if __name__ == "__main__":
    # Away from the terminal and its ^C. A process that leads its group already has no need of it.
    if os.getpgrp() != os.getpid():
        os.setsid()
    endpoints.TCP4ServerEndpoint = LoopbackEndpoint

    from localstack.runtime.main import main
    from localstack.services.s3 import provider

    provider.DEFAULT_S3_TMP_DIR = None  # a new folder
    sys.exit(main())
