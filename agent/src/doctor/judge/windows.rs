//! What to change, in the words of a Windows.

/// What the advice for Linux is called there. What concerns the collector's machine, which is a Linux, stays as it is.
const WORDS: &[(&str, &str)] = &[
    (
        "sudo install -d -m 0700 ",
        "sudo firstmile-agent service install, which makes ",
    ),
    (
        "sudo systemctl enable --now firstmile-agent",
        "sudo net start firstmile-agent",
    ),
    (
        "sudo apt-get update && sudo apt-get install firstmile-agent=",
        "sudo msiexec /qn /i firstmile-agent-VERSION-x64.msi, where VERSION is ",
    ),
    ("sudo timedatectl set-ntp true", "sudo w32tm /resync"),
    ("chronyc tracking", "w32tm /query /status"),
    (
        "journalctl -u firstmile-agent | grep -i renew",
        "look into the Event Log, Application, source firstmile-agent",
    ),
    (", to see it as root", ""),
    ("df -h /var/lib/firstmile-agent", "dir C:\\ProgramData"),
    ("ls -ld ", "icacls "),
    ("df -h ", "dir "),
    ("ip -brief address", "ipconfig"),
    ("interface or source of", "source of"),
    ("ip route; ip -6 route", "route print"),
    ("ip route get ", "pathping -q 1 "),
    (
        "sudo nft list ruleset",
        "netsh advfirewall firewall show rule name=all dir=out",
    ),
    (
        "sudo iptables -I INPUT -p icmp --icmp-type time-exceeded -j ACCEPT",
        "sudo netsh advfirewall firewall add rule name=firstmile dir=in action=allow protocol=icmpv4:11,any",
    ),
    ("/etc/firstmile/", "C:/ProgramData/firstmile/"),
    ("in /etc/resolv.conf", "in the settings of its network"),
    ("ulimit -n 1024", "end programs that hold many sockets"),
];

/// Said before what only an administrator may do.
const AS_ADMINISTRATOR: &str = "in a console of an administrator: ";

/// An advice in the words of a Windows.
pub(super) fn in_its_words(advice: &str) -> String {
    let advice = WORDS
        .iter()
        .fold(advice.to_owned(), |advice, (linux, windows)| {
            advice.replace(linux, windows)
        });
    if advice.contains("sudo ") {
        format!("{AS_ADMINISTRATOR}{}", advice.replace("sudo ", ""))
    } else {
        advice
    }
}
