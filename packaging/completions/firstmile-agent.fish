# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_firstmile_agent_global_optspecs
    string join \n config= h/help V/version
end

function __fish_firstmile_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_firstmile_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_firstmile_agent_using_subcommand
    set -l cmd (__fish_firstmile_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -s h -l help -d 'Print help'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -s V -l version -d 'Print version'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "run" -d 'Measure and report until stopped'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "once" -d 'Measure every target once and print a table; needs no collector'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "enroll" -d 'Get an identity from a collector'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "status" -d 'Tell how the running agent is doing'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "check-config" -d 'Check the configuration and print what it amounts to'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "doctor" -d 'Look for what keeps this machine from measuring well, and say what to change'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "trace" -d 'Show the path to a target or host, hop by hop; live on a terminal, until Ctrl-C'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "rehearse" -d 'Run hours of the plan on a virtual clock and a made-up network, and state what it sends and how soon it confirms'
complete -c firstmile-agent -n "__fish_firstmile_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand run" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand once" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand once" -l json -d 'Print JSON instead of a table'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand once" -s h -l help -d 'Print help'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand enroll" -l join-file -d 'Read the join string from a file, so that it is in no process list' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand enroll" -l collector -d 'The collector\'s address from here, where it is another than the join string says' -r
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand enroll" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand enroll" -l replace -d 'Give up the identity that this agent has'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand enroll" -s h -l help -d 'Print help'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand status" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand status" -l json -d 'Print JSON instead of text'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand status" -s h -l help -d 'Print help'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand check-config" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand doctor" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand doctor" -l json -d 'Print JSON instead of text'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l rounds -d 'Rounds, after which it ends by itself [default: until Ctrl-C on a terminal, else 3]' -r
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l flows -d 'Flows, each pinned to a port of its own, to see branches of load balancing [default: `trace_flows` of the plan]' -r
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l kind -d 'Packets to send [default: tcp]' -r -f -a "tcp\t'SYN segments to the port, as users\' connections send; all TTLs at once with `CAP_NET_RAW`, else one at a time'
udp\t'Datagrams to the port; wants `CAP_NET_RAW`'
icmp\t'Echo requests; wants `CAP_NET_RAW` or `ping_group_range`'"
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l port -d 'Port to send to (TCP, UDP) [default: that of the target, or 443]' -r
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l alpha -d 'Chance with which --multipath may miss a branch of a router' -r
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l tcp -d 'The same as --kind tcp'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l udp -d 'The same as --kind udp'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l icmp -d 'The same as --kind icmp'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -s 4 -l ipv4 -d 'The IPv4 address of a name only'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -s 6 -l ipv6 -d 'The IPv6 address of a name only'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l multipath -d 'Find every branch of the path once, with as many flows as that takes, instead of rounds'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -s n -l no-names -d 'Ask for no names'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -l json -d 'Print one JSON object at the end instead of a table'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand trace" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand rehearse" -l targets -d 'Targets' -r
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand rehearse" -l hours -d 'Hours' -r
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand rehearse" -l seed -d 'The same numbers come of the same seed' -r
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand rehearse" -l config -d 'Configuration file [default: /etc/firstmile/agent.toml, or the built-in defaults where there is none]' -r -F
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand rehearse" -l json -d 'Print JSON instead of text'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand rehearse" -s h -l help -d 'Print help'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "run" -d 'Measure and report until stopped'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "once" -d 'Measure every target once and print a table; needs no collector'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "enroll" -d 'Get an identity from a collector'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "status" -d 'Tell how the running agent is doing'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "check-config" -d 'Check the configuration and print what it amounts to'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "doctor" -d 'Look for what keeps this machine from measuring well, and say what to change'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "trace" -d 'Show the path to a target or host, hop by hop; live on a terminal, until Ctrl-C'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "rehearse" -d 'Run hours of the plan on a virtual clock and a made-up network, and state what it sends and how soon it confirms'
complete -c firstmile-agent -n "__fish_firstmile_agent_using_subcommand help; and not __fish_seen_subcommand_from run once enroll status check-config doctor trace rehearse help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
