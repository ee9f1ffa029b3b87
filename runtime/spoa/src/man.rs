//! The man page: the options from the definition of the command line, and the sections that it does not have.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::Man;

/// The sections after the options, in roff.
const SECTIONS: &str = r#".SH "EXIT STATUS"
.TP
.B 0
Success: it was stopped, the probe was answered as expected, or the files are valid.
.TP
.B 1
It could not run: an address is in use, a file cannot be read, a list cannot be used. For \fBprobe\fR: the answer is not as
expected. For \fBvalidate\fR: there are faults. For \fBdoctor\fR: there are findings that are more than advice.
.TP
.B 2
An option, or something in the configuration file, is wrong.
.PP
Each failure is explained in one line on standard error.
.SH SIGNALS
.TP
.B SIGTERM
Stops it: health checks are refused for the time of \fB\-\-drain\fR, then NOTIFYs in flight are answered and connections closed,
within \fB\-\-grace\fR. Another SIGTERM more than a second later, or a SIGINT, ends it at once.
.TP
.B SIGINT
Stops it without the time of \fB\-\-drain\fR.
.TP
.B SIGHUP
Reads the configuration file again and reloads all lists. Messages, policies, lists and scores change while it serves. Other options
that have changed take effect at the next start, and the log names them.
.TP
.B SIGUSR1
Switches the log level to debug, and back.
.TP
.B SIGUSR2
Reopens the file of the verdict log, as SIGHUP does too.
.SH FILES
.TP
.I /etc/spoa/spoa.toml
The configuration of the service; see
.BR spoa.toml (5).
.TP
.I /etc/spoa/lists
The lists that
.BR spoa\-lists (1)
downloads.
.TP
.I /var/lib/spoa
Downloaded lists. A file
.RI . NAME .checked
beside the list
.I NAME
records when it was last found to be the newest version.
.TP
.I /run/spoa
The folder for unix sockets of the service.
.SH EXAMPLES
.TP
Serve a list, with metrics:
.B spoa \-\-list bad=/var/lib/spoa/drop,score=5 \-\-admin 127.0.0.1:9101
.TP
Serve HAProxy alone, over a unix socket:
.B spoa \-\-listen unix:/run/spoa/spoa.sock,mode=0660,group=haproxy
.TP
Why is this client refused?
.B spoa check 192.0.2.7
.TP
Does the setup protect anything?
.B spoa doctor /etc/haproxy/haproxy.cfg /etc/spoa/spoa.toml
.TP
What does the agent do?
.B spoa top 127.0.0.1:9101
.TP
Does the agent answer, and with a score?
.B spoa probe 127.0.0.1:12345 \-\-notify 192.0.2.7 \-\-expect ip_score
.SH "SEE ALSO"
.BR spoa.toml (5),
.BR spoa\-lists (1),
.BR haproxy (1)
"#;

/// Writes the man page of the program.
///
/// # Errors
/// It cannot be written.
pub(crate) fn page(command: Command, out: &mut Vec<u8>) -> io::Result<()> {
    let man = Man::new(command).section("1").manual("User Commands");
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    man.render_subcommands_section(out)?;
    out.write_all(SECTIONS.as_bytes())
}
