import Foundation
import Glibc
import Synchronization

/// What a program that has ended left behind.
struct Outcome: Sendable, CustomStringConvertible {
    var command: String
    /// Its exit code, or the negative number of the signal that ended it.
    var code: Int
    var output: [UInt8]
    var errors: [UInt8]

    var stdout: String { String(decoding: output, as: UTF8.self) }
    var stderr: String { String(decoding: errors, as: UTF8.self) }

    /// The lines of standard output, without the empty one at the end.
    var lines: [String] {
        stdout.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    }

    /// Standard output as Foundation, not we, reads JSON.
    func json() throws -> JSON { try JSON(parsing: output) }

    var description: String {
        """
        $ \(command)
        ended with \(code)
        --- standard output
        \(stdout)
        --- standard error
        \(stderr)
        """
    }
}

/// A test cannot go on; the text says what was seen.
struct Surprise: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }
}

/// Where a child's three streams go.
enum Streams: Sendable {
    /// Standard input holds these bytes; output and errors go to files.
    case files(input: [UInt8] = [])
    /// All three are one terminal; its text is in ``Child/terminalText``.
    case terminal
}

/// A process that this one started: in a group of its own, killed when it outlives its bound, and
/// by the kernel when the test runner dies.
final class Child: Sendable {
    let command: String
    let pid: pid_t
    private let outputPath: String
    private let errorPath: String
    private let terminal: Terminal?
    private let status = Mutex<Int?>(nil)

    static let secondsMax = 60.0

    /// - Parameter folder: Where the files of its output are put.
    init(
        _ arguments: [String], environment: [String: String], folder: String,
        streams: Streams = .files()
    ) throws {
        command = arguments.joined(separator: " ")
        let name = folder + "/child-\(Self.count.wrappingAdd(1, ordering: .relaxed).newValue)"
        outputPath = name + ".out"
        errorPath = name + ".err"
        let opened: [(descriptor: Int32, path: String, flags: Int32)]
        switch streams {
        case .files(let input):
            terminal = nil
            var inputPath = "/dev/null"
            if !input.isEmpty {
                inputPath = name + ".in"
                try Data(input).write(to: URL(filePath: inputPath))
            }
            let write = O_WRONLY | O_CREAT | O_TRUNC
            opened = [(0, inputPath, O_RDONLY), (1, outputPath, write), (2, errorPath, write)]
        case .terminal:
            let terminal = try Terminal()
            self.terminal = terminal
            opened = (0...2).map { ($0, terminal.path, O_RDWR | O_NOCTTY) }
        }
        pid = try Spawner.shared.spawn(
            arguments, environment: environment, opened: opened)
    }

    private static let count = Atomic(0)

    var stdout: String { Self.text(of: outputPath) }
    var stderr: String { Self.text(of: errorPath) }
    var terminalText: String { terminal?.text ?? "" }

    /// Types into the child's terminal.
    func type(_ text: String) { terminal?.type(text) }

    /// Whether the process has ended; asks the kernel.
    var hasEnded: Bool { ended() != nil }

    /// Sends a signal to the process and those it started, unless it has ended.
    func signal(_ number: Int32) {
        status.withLock { if $0 == nil { kill(-pid, number) } }
    }

    /// Waits for the end.
    ///
    /// - Throws: ``Surprise`` after `seconds`; the process was killed then.
    func end(within seconds: Double = secondsMax) async throws -> Outcome {
        do {
            try await eventually("the end of: \(command)", within: seconds) { self.hasEnded }
        } catch {
            signal(SIGKILL)
            throw Surprise("\(error)\n\(stdout)\n\(stderr)\(terminalText)")
        }
        terminal?.drain()
        return Outcome(
            command: command, code: ended() ?? 0, output: Self.bytes(of: outputPath),
            errors: Self.bytes(of: errorPath))
    }

    /// Kills the process and waits until the kernel has let it go.
    func destroy() async {
        signal(SIGKILL)
        _ = try? await end(within: 10)
    }

    /// Kills the process without waiting.
    deinit {
        if ended() == nil {
            kill(-pid, SIGKILL)
            waitpid(pid, nil, 0)
        }
    }

    private func ended() -> Int? {
        status.withLock { known in
            if let known { return known }
            var raw: Int32 = 0
            guard waitpid(pid, &raw, WNOHANG) == pid else { return nil }
            let signal = raw & 0x7F
            known = Int(signal == 0 ? (raw >> 8) & 0xFF : -signal)
            return known
        }
    }

    private static func bytes(of path: String) -> [UInt8] {
        (try? Data(contentsOf: URL(filePath: path))).map { [UInt8]($0) } ?? []
    }

    private static func text(of path: String) -> String {
        String(decoding: bytes(of: path), as: UTF8.self)
    }
}

/// Polls until a condition holds.
///
/// - Throws: ``Surprise`` when it does not within the bound.
func eventually(
    _ what: String, within seconds: Double = 30, _ condition: () throws -> Bool
) async throws {
    let start = ContinuousClock.now
    while try !condition() {
        guard start.duration(to: .now) < .seconds(seconds) else {
            throw Surprise("waited \(seconds) s in vain for \(what)")
        }
        try await Task.sleep(for: .milliseconds(2))
    }
}

/// The one thread that starts processes: the kernel kills them when it ends, and it ends with the
/// test runner, however that comes about.
private final class Spawner: @unchecked Sendable {
    static let shared = Spawner()

    private let condition = NSCondition()
    private var jobs: [() -> Void] = []

    private init() {
        let thread = Thread { [self] in
            while true {
                condition.lock()
                while jobs.isEmpty { condition.wait() }
                let job = jobs.removeFirst()
                condition.unlock()
                job()
            }
        }
        thread.start()
    }

    func spawn(
        _ arguments: [String], environment: [String: String],
        opened: [(descriptor: Int32, path: String, flags: Int32)]
    ) throws -> pid_t {
        let done = DispatchSemaphore(value: 0)
        nonisolated(unsafe) var result: Result<pid_t, Surprise> = .failure(Surprise("no result"))
        condition.lock()
        jobs.append {
            result = Self.start(arguments, environment: environment, opened: opened)
            done.signal()
        }
        condition.signal()
        condition.unlock()
        done.wait()
        return try result.get()
    }

    private static func start(
        _ arguments: [String], environment: [String: String],
        opened: [(descriptor: Int32, path: String, flags: Int32)]
    ) -> Result<pid_t, Surprise> {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        for (descriptor, path, flags) in opened {
            posix_spawn_file_actions_addopen(&actions, descriptor, path, flags, 0o600)
        }
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // Threads of the test runner block signals, and a child would inherit that.
        var none = sigset_t()
        sigemptyset(&none)
        var all = sigset_t()
        sigfillset(&all)
        posix_spawnattr_setsigmask(&attributes, &none)
        posix_spawnattr_setsigdefault(&attributes, &all)
        posix_spawnattr_setflags(
            &attributes,
            Int16(POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))
        let whole = ["setpriv", "--pdeathsig", "KILL", "--"] + arguments
        var argv: [UnsafeMutablePointer<CChar>?] = whole.map { strdup($0) }
        argv.append(nil)
        var envp: [UnsafeMutablePointer<CChar>?] = environment.sorted { $0.key < $1.key }
            .map { strdup("\($0.key)=\($0.value)") }
        envp.append(nil)
        defer { for text in argv + envp { free(text) } }
        var pid: pid_t = 0
        let code = posix_spawnp(&pid, "setpriv", &actions, &attributes, argv, envp)
        guard code == 0 else {
            return .failure(
                Surprise("cannot start \(arguments): \(String(cString: strerror(code)))"))
        }
        return .success(pid)
    }
}

/// A pseudo terminal: what a person would see, and what they would type.
private final class Terminal: Sendable {
    let path: String
    private let master: Int32
    private let seen = Mutex<[UInt8]>([])

    // Swift's Glibc module shows neither posix_openpt(3) nor these requests of ioctl_tty(2).
    private static let setLock: UInt = 0x4004_5431
    private static let getNumber: UInt = 0x8004_5430

    init() throws {
        master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK)
        var lock: Int32 = 0
        var number: UInt32 = 0
        guard master >= 0, ioctl(master, Self.setLock, &lock) == 0,
            ioctl(master, Self.getNumber, &number) == 0
        else { throw Surprise("no terminal is to be had") }
        path = "/dev/pts/\(number)"
        var size = winsize(ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0)
        _ = ioctl(master, UInt(TIOCSWINSZ), &size)
    }

    deinit { close(master) }

    var text: String {
        drain()
        return String(decoding: seen.withLock { $0 }, as: UTF8.self)
    }

    func type(_ text: String) {
        let bytes = Array(text.utf8)
        _ = write(master, bytes, bytes.count)
    }

    /// Reads what is there, without waiting.
    func drain() {
        seen.withLock { seen in
            var buffer = [UInt8](repeating: 0, count: 4_096)
            while true {
                let count = read(master, &buffer, buffer.count)
                guard count > 0 else { return }
                seen.append(contentsOf: buffer[..<count])
            }
        }
    }
}
