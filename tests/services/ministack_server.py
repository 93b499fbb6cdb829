"""ministack as a plain process: ministack_server.py DIR PORT. ministack.sh runs it and sets its environment.

Neither is read: DIR tells ministack.sh which process is whose, and the port is in the environment.
"""

import os
import sys

if __name__ == "__main__":
    # Away from the terminal and its ^C. A process that leads its group already has no need of it.
    if os.getpgrp() != os.getpid():
        os.setsid()
    # It reads its own arguments.
    sys.argv[1:] = []

    from ministack.app import main

    main()
