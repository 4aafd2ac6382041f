#if canImport(Glibc)
    import Glibc
#endif

/// What is printed when the program traps; a signal's handler may do little more than write.
private nonisolated(unsafe) var message: UnsafeMutablePointer<CChar>?
/// By signal, what would have happened without us: Swift's own report.
private nonisolated(unsafe) let formerActions = UnsafeMutablePointer<sigaction>.allocate(
    capacity: 32)

/// Says how to replay a run in which our code, or SQLite's, traps.
enum TrapReport {
    static func install() {
        for signal in [SIGILL, SIGTRAP, SIGSEGV, SIGBUS, SIGFPE, SIGABRT] {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = { signal in
                if let message { write(STDERR_FILENO, message, strlen(message)) }
                // The instruction comes again.
                sigaction(signal, formerActions + Int(signal), nil)
            }
            sigaction(signal, &action, formerActions + Int(signal))
        }
    }

    /// - Parameter command: That of the run that begins.
    static func note(_ command: String) {
        let former = message
        message = strdup("\nTRAPPED\nreplay: \(command)\n")
        free(former)
    }
}
