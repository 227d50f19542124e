"""`torchrun` with a meeting point that listens on loopback only, which ends with the process that started it.

    python -m pipeline.training.agent PARENT --rdzv-backend loopback … -m pipeline.training.rank JOB

`torchrun --standalone` listens on every address of the machine. Everything else is torchrun's own: its options, its
watch over the processes, its restarts.
"""

from __future__ import annotations

import os
import socket
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from pipeline.stopping import end_with

if TYPE_CHECKING:
    from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousParameters

HOST, BACKEND = "127.0.0.1", "loopback"


def meeting_point(parameters: RendezvousParameters) -> RendezvousHandler:
    """The rendezvous of the processes of one machine: a store behind a socket that is bound to loopback."""
    from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]  # in its documentation
    from torch.distributed.elastic.rendezvous import RendezvousHandler, RendezvousInfo, RendezvousStoreInfo

    class Loopback(RendezvousHandler):
        closed = False

        def get_backend(self) -> str:
            return BACKEND

        @property
        def use_agent_store(self) -> bool:
            return True

        def next_rendezvous(self) -> RendezvousInfo:
            """A store of its own for every start: the processes find no word of those before them."""
            bound = socket.create_server((HOST, 0))
            port = bound.getsockname()[1]
            self.store: Store = TCPStore(
                HOST,
                port,
                None,
                True,
                timedelta(minutes=10),
                wait_for_workers=False,
                multi_tenant=True,
                master_listen_fd=bound.detach(),
            )
            return RendezvousInfo(PrefixStore(parameters.run_id, self.store), 0, 1, RendezvousStoreInfo(HOST, port))

        def is_closed(self) -> bool:
            return self.closed

        def set_closed(self) -> None:
            self.closed = True

        def num_nodes_waiting(self) -> int:
            return 0

        def get_run_id(self) -> str:
            return parameters.run_id

        def shutdown(self) -> bool:
            return True

    return Loopback()


def main() -> None:
    """The arguments: the process to end with, then those of torchrun."""
    from torch.distributed import run
    from torch.distributed.elastic.rendezvous import rendezvous_handler_registry

    parent = int(sys.argv[1])
    if os.getppid() != parent:
        sys.exit("the process that this one belongs to has ended")
    end_with(parent)
    rendezvous_handler_registry.register(BACKEND, meeting_point)
    run.main(sys.argv[2:])


if __name__ == "__main__":
    main()
