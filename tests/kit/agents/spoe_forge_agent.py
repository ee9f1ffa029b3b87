#!/usr/bin/env python3
"""An SPOE agent that uses the library spoe-forge 0.0.8 from PyPI, which needs Python 3.12 or newer.

Answers each message check-client-ip that has an IP address with the variable ip_score = 42 in scope session.
"""
import argparse
import ipaddress

from spoe_forge import ActionScope, SetVarAction, SpoeForge

SCORE = 42
agent = SpoeForge(name="spoe_forge_agent")


# The name of an unnamed argument is empty.
@agent.message("check-client-ip")
async def check_client_ip(context):
    address = context.get_arg("ip", context.get_arg(""))
    if isinstance(address, (ipaddress.IPv4Address, ipaddress.IPv6Address)):
        return [SetVarAction(ActionScope.SESSION, "ip_score", SCORE)]
    return []


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1 to listen on")
    agent.run(host="127.0.0.1", port=parser.parse_args().port)
