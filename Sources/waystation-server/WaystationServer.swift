import ArgumentParser
import CMalloc
import Dispatch

/// Sets up the process before it has a second thread.
@main
enum Start {
    static func main() {
        // glibc would give each thread a heap of its own, and none gives back what a large page
        // once took. All but two threads wait most of the time, so one heap does.
        mallopt(M_ARENA_MAX, 1)
        Task {
            await WaystationServer.main()
            WaystationServer.exit()
        }
        dispatchMain()
    }
}

/// The hub's program: makes, fills, serves, inspects and backs up one ledger.
///
/// Exit codes: 0 done; 1 failed, also a `check` with findings; 64 wrong usage or settings; 65 bad
/// input data; 74 disk; 75 busy, try again. Data goes to standard output, talk to standard error.
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
