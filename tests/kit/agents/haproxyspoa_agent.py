#!/usr/bin/env python3
"""An SPOE agent that uses the library haproxyspoa 0.0.1 from PyPI.

Answers each message check-client-ip that has an IP address with the variable ip_score = 42 in scope session.
"""
import argparse
import ipaddress

from haproxyspoa.payloads.ack import AckPayload, ActionVarScope
from haproxyspoa.spoa_server import SpoaServer

SCORE = 42
agent = SpoaServer()


# The library passes the arguments of a message as keyword arguments. An unnamed argument has the empty name.
@agent.handler("check-client-ip")
async def check_client_ip(**arguments):
    address = arguments.get("ip", arguments.get(""))
    ack = AckPayload()
    if isinstance(address, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        ack.set_var(ActionVarScope.SESSION, "ip_score", SCORE)
    return ack


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1 to listen on")
    agent.run(host="127.0.0.1", port=parser.parse_args().port)
