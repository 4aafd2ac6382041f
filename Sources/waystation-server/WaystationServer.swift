import ArgumentParser

/// The hub's program: makes, fills, serves, inspects and backs up one ledger.
///
/// Exit codes: 0 done; 1 failed, also a `check` with findings; 64 wrong usage or settings; 65 bad
/// input data; 74 disk; 75 busy, try again. Data goes to standard output, talk to standard error.
@main
struct WaystationServer: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "waystation-server",
        abstract: "The centre's server for needs recorded without signal.",
        discussion: """
            Settings are taken from flags, then from WAYSTATION_LEDGER, WAYSTATION_LISTEN, \
            WAYSTATION_TLS_CERTIFICATE and WAYSTATION_TLS_KEY, then from a file (--config or \
            WAYSTATION_CONFIG) of lines "ledger = PATH", "listen = HOST:PORT", \
            "tls-certificate = FILE" and "tls-key = FILE".

            Exit codes: 0 done, 1 failed or check found something, 64 wrong usage, 65 bad input \
            data, 74 disk, 75 busy (try again).
            """,
        version: "0.1.0",
        subcommands: [
            InitCommand.self, ImportCommand.self, InviteCommand.self, ServeCommand.self,
            DevicesCommand.self, RevokeCommand.self, NeedCommand.self, ConflictCommand.self,
            DispatchCommand.self, CheckCommand.self, BackupCommand.self, RestoreCommand.self,
        ])
}
