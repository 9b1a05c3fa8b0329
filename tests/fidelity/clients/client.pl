# A plain client in Perl; protocol.md says what it reads and prints.

use strict;
use warnings;
use Errno ();
use Socket;
use Time::HiRes qw(clock_gettime sleep CLOCK_MONOTONIC);

$SIG{PIPE} = 'IGNORE';    # EPIPE shall be an errno, not the end of the process
$| = 1;

while (my $line = <STDIN>) {
    print join("\t", visit(split ' ', $line)), "\n";
}

sub visit {
    my ($host, $port, $verb, $count, @steps) = @_;
    my @said;
    my $start = clock_gettime(CLOCK_MONOTONIC);
    socket(my $sock, PF_INET, SOCK_STREAM, 0) or die "socket: $!";
    my %take = (
        patience => sub {
            my $patience = pack 'l!l!', int($_[0] / 1000), $_[0] % 1000 * 1000;
            setsockopt($sock, SOL_SOCKET, SO_SNDTIMEO, $patience) && setsockopt($sock, SOL_SOCKET, SO_RCVTIMEO, $patience);
        },
        connect => sub { connect $sock, pack_sockaddr_in($port, inet_aton($host)) },
        send    => sub { syswrite $sock, "$verb $count\n" },
        shut    => sub { shutdown $sock, SHUT_WR },
        read    => sub { receive($sock, \@said, $start) },
        write   => sub {
            for my $written (0 .. $_[0] - 1) {
                push @said, "written=$written";
                sleep 0.02;
                syswrite($sock, "more\n") or return;
            }
            return 1;
        },
    );
    for (@steps) {
        my ($step, $option) = split /:/;
        my $is_done = $take{$step}->($option);
        my ($name) = grep { $!{$_} } qw(ECONNREFUSED ECONNRESET EPIPE ECONNABORTED ETIMEDOUT EHOSTUNREACH ENETUNREACH
            EINPROGRESS EAGAIN);
        my $failure = ($name // 'another errno') . ": $!";
        push @said, "$step=" . (!$is_done ? $failure : $step eq 'read' ? 'EOF' : 'ok') if $step ne 'patience';
        last if !$is_done;
    }
    push @said, 'end_ms=' . elapsed_ms($start);
    close $sock;
    return @said;
}

sub receive {
    my ($sock, $said, $start) = @_;
    my ($received, $last_ms, @changed) = (0, 0);
    my $count;
    while ($count = sysread $sock, my $data, 65536) {
        $last_ms = elapsed_ms($start);
        push @$said, "first_ms=$last_ms" if !$received;
        for my $byte (unpack 'C*', $data) {
            push @changed, $received if $byte != $received % 251 && @changed < 9;
            $received++;
        }
    }
    my $error = $! + 0;
    push @$said, "bytes=$received", 'changed=' . join(',', @changed), "last_ms=$last_ms";
    $! = $error;
    return defined $count;
}

sub elapsed_ms {
    my ($start) = @_;
    return int((clock_gettime(CLOCK_MONOTONIC) - $start) * 1000);
}
