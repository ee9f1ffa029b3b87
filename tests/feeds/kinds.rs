//! Lists of the same kinds as the [inputs](crate::inputs), and of further ones.

use crate::inputs::ONE;

/// The text of each list, its options, its prefixes and its layout.
pub(crate) const KINDS: &[(&str, &str, &[&str], &str)] = &[
    (
        "################\n# Feodo Tracker\n#\n\"first_seen_utc\",\"dst_ip\",\"dst_port\",\"malware\"\n\
         \"2021-01-17 07:44:46\",\"192.0.2.1\",\"443\",\"Emotet, or so\"\n# END 1 entries\n",
        "",
        &["192.0.2.1"],
        "comma-separated, address in column 2",
    ),
    (
        "192.0.2.0 255.255.255.0\n198.51.100.4 255.255.255.252\n",
        "",
        &["192.0.2.0/24", "198.51.100.4/30"],
        "separated by blanks, network and netmask in columns 1 and 2",
    ),
    ("001.002.003.000 - 001.002.003.255 , 000 , A name\n", "", &["1.2.3.0/24"], "comma-separated, address in column 1"),
    ("192.0.2.0 - 192.0.2.255\n", "", &["192.0.2.0/24"], ONE),
    ("192.0.2.0/24,192.0.2.0,192.0.2.255,US\n", "", &["192.0.2.0/24"], "comma-separated, address in column 1"),
    (
        "network|name\n192.0.2.0/24|a\n2001:db8::/32|b\n",
        ",column=Network",
        &["192.0.2.0/24", "2001:db8::/32"],
        "separated by |, address in column 1",
    ),
    (
        "-A INPUT -s 192.0.2.1/32 -j DROP\n-A INPUT -s 198.51.100.0/24 -j DROP\n",
        "",
        &["192.0.2.1", "198.51.100.0/24"],
        "separated by blanks, address in column 4",
    ),
    (
        "{\"values\":[{\"properties\":{\"region\":\"\",\"addressPrefixes\":[\"192.0.2.0/24\",\"2001:db8::/32\"]}}]}",
        "",
        &["192.0.2.0/24", "2001:db8::/32"],
        "a JSON document, address under addressPrefixes",
    ),
    (
        "{\"domains\":{\"a\":[\"*.example.com\"]},\"hooks\":[\"192.0.2.0/24\"]}",
        "",
        &["192.0.2.0/24"],
        "a JSON document, address under hooks",
    ),
    ("[\"192.0.2.1\",\"198.51.100.7\"]", "", &["192.0.2.1", "198.51.100.7"], "a JSON document"),
    (
        "ExitNode 63BF\nPublished 2026-11-25 10:00:00\nExitAddress 192.0.2.1 2026-11-25 11:00:00\nExitNode 0A1B\n\
         Published 2026-11-25 12:00:00\nExitAddress 192.0.2.7 2026-11-25 13:00:00\nExitAddress 192.0.2.9 2026-11-25 14:00:00\n",
        "",
        &["192.0.2.1", "192.0.2.7", "192.0.2.9"],
        "records",
    ),
    (
        "% a registry\nroute:   192.0.2.0/24\ndescr:   A network\n         in two lines\n\nroute6:  2001:db8::/32\nremarks: x\n\n\
         inetnum: 198.51.100.0 - 198.51.100.255\nsource:  X\n",
        "",
        &["192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24"],
        "records",
    ),
    (
        "\"3221225984\",\"3221226239\",\"US\"\n\"3325256704\",\"3325256704\",\"-\"\n\"3325256706\",\"3325256707\",\"DE\"\n\
         \"3405803776\",\"3405804031\",\"FR\"\n\"281473902969344\",\"281473902969599\",\"FR\"\n",
        "",
        &["192.0.2.0/24", "198.51.100.0", "198.51.100.2/31", "203.0.113.0/24", "192.0.2.0/24"],
        "comma-separated, range of integers in columns 1 and 2",
    ),
    (
        "2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,??\n2001:dba::,2001:dba:2:ffff:ffff:ffff:ffff:ffff,JP\n",
        "",
        &["2001:db8::/32", "2001:dba::/47", "2001:dba:2::/48"],
        "comma-separated, range in columns 1 and 2",
    ),
    (
        "{\"data\":[{\"network\":\"192.0.2.0\",\"netmask\":\"255.255.255.0\"},{\"ip\":\"2001:db8::\",\"prefix_len\":32},\
         {\"start\":\"198.51.100.0\",\"end\":\"198.51.100.255\"},{\"cidr\":\"203.0.113.0/24\",\"mask\":24}]}",
        "",
        &["192.0.2.0/24", "2001:db8::/32", "198.51.100.0/24", "203.0.113.0/24"],
        "a JSON document, address under network and ip and start and cidr",
    ),
    (
        "{\"net\":\"192.0.2.0\",\"netmask\":\"255.255.255.0\"}\n",
        "",
        &["192.0.2.0/24"],
        "a JSON document, address under net",
    ),
    (
        "{\"network\":\"16.0.0.0\",\"netmask\":\"254.0.0.0\"}\n{\"network\":\"192.0.2.9\",\"mask\":\"\"}\n",
        ",key=network",
        &["16.0.0.0/7", "192.0.2.9"],
        "JSON lines, address under network",
    ),
    (
        "[{\"start_ip\":\"2001:db8::\",\"end_ip\":\"2001:db8:0:ffff:ffff:ffff:ffff:ffff\"}]",
        ",ipv6-host=64",
        &["2001:db8::/48"],
        "a JSON document, address under start_ip",
    ),
    (
        "network,len,score\n192.0.2.0,24,50\n198.51.100.0,25,60\n",
        ",score-column=score",
        &["192.0.2.0/24", "198.51.100.0/25"],
        "comma-separated, network and netmask in columns 1 and 2, score in column 3",
    ),
    ("socks5://192.0.2.1:1080\nhttp://[2001:db8::1]:80/\n", "", &["192.0.2.1", "2001:db8::1"], ONE),
    (
        "{\"cidr\":\"192.0.2.0/24\",\"sblid\":\"SBL1\"}\n{\"type\":\"metadata\",\"size\":2}\n",
        "",
        &["192.0.2.0/24"],
        "JSON lines, address under cidr",
    ),
    (
        "// a comment\n192.0.2.1 // not a comment mark\n",
        ",max-bad=100",
        &["192.0.2.1"],
        "separated by blanks, address in column 1",
    ),
];
