import Synchronization

/// One line that tells how far a slow command has come, rewritten in place, gone at the end.
///
/// Shows nothing for the first 250 ms, since most commands end before anyone could read, and
/// rewrites at most ten times a second. Call ``finish()`` before printing anything else.
package final class ProgressLine: Sendable {
    private static let silenceMilliseconds: Int64 = 250
    private static let intervalMilliseconds: Int64 = 100
    private static let erase = "\r\u{1B}[K"

    private enum State {
        /// Nothing is on the screen.
        case silent
        /// A line is on the screen since the given time.
        case drawn(Int64)
        case finished
    }

    private let state = Mutex(State.silent)
    private let isShown: Bool
    private let start: Int64
    private let clock: @Sendable () -> Int64
    private let width: @Sendable () -> Int
    private let write: @Sendable (String) -> Void

    /// Starts the silence now. Programs use ``Console/progress(clock:)``.
    ///
    /// - Parameters:
    ///   - isShown: Whether there is a terminal to show it on.
    ///   - clock: Milliseconds of a clock that never steps back.
    ///   - width: The terminal's columns.
    ///   - write: Puts text on the terminal, unchanged. Called with the state locked, so that two
    ///     threads cannot mix their lines.
    package init(
        isShown: Bool, clock: @escaping @Sendable () -> Int64,
        width: @escaping @Sendable () -> Int, write: @escaping @Sendable (String) -> Void
    ) {
        self.isShown = isShown
        self.clock = clock
        self.width = width
        self.write = write
        start = clock()
    }

    /// Shows the text if it is time to; call it as often as there is news, from any thread.
    package func update(_ text: @autoclosure () -> String) {
        guard isShown else { return }
        let now = clock()
        state.withLock { state in
            switch state {
            case .silent where now - start >= Self.silenceMilliseconds:
                break
            case .drawn(let last) where now - last >= Self.intervalMilliseconds:
                break
            case .silent, .drawn, .finished:
                return
            }
            // One column stays free: in the last one, some terminals wrap at once.
            write(Self.erase + sanitised(text()).truncate(toWidth: width() - 1))
            state = .drawn(now)
        }
    }

    /// Clears the line if it is shown; later updates do nothing.
    package func finish() {
        state.withLock { state in
            if case .drawn = state { write(Self.erase) }
            state = .finished
        }
    }
}
