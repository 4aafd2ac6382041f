import Dispatch
import Glibc
import Synchronization

/// Runs a body on so many threads at once, and waits for all.
///
/// - Parameter body: Told its number; blocks as it likes.
/// - Throws: The first error of any; the others have ended then.
func onThreads<Result: Sendable>(
    _ count: Int, _ body: @escaping @Sendable (Int) throws -> Result
) throws -> [Result] {
    let work = Work(body)
    for _ in 0..<count {
        work.group.enter()
        // A thread's function is one of C's, which knows no generics: it gets a closure in a box.
        let box = Box { work.run() }
        var thread = pthread_t()
        let status = pthread_create(
            &thread, nil,
            { pointer in
                Unmanaged<Box>.fromOpaque(pointer!).takeRetainedValue().run()
                return nil
            }, Unmanaged.passRetained(box).toOpaque())
        guard status == 0 else { throw BenchError("no thread could be started") }
        pthread_detach(thread)
    }
    work.group.wait()
    return try work.results.withLock { results in
        try (0..<count).map { number in
            guard let result = results[number] else { throw BenchError("a thread was lost") }
            return try result.get()
        }
    }
}

/// What the threads share.
private final class Work<Result: Sendable>: Sendable {
    let body: @Sendable (Int) throws -> Result
    let results = Mutex<[Int: Swift.Result<Result, any Error>]>([:])
    let group = DispatchGroup()
    let next = Mutex(0)

    init(_ body: @escaping @Sendable (Int) throws -> Result) { self.body = body }

    func run() {
        let number = next.withLock { number in
            defer { number += 1 }
            return number
        }
        let result = Swift.Result { try body(number) }
        results.withLock { $0[number] = result }
        group.leave()
    }
}

private final class Box: Sendable {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Lets all go on when all have come.
final class Gate: Sendable {
    private let missing: Mutex<Int>
    private let opened = DispatchSemaphore(value: 0)
    private let count: Int
    private let openedTime = Mutex<Int64>(0)

    /// When the last one came, by the monotonic clock.
    var openedNanoseconds: Int64 { openedTime.withLock { $0 } }

    init(_ count: Int) {
        self.count = count
        missing = Mutex(count)
    }

    func pass() {
        let isLast = missing.withLock { missing in
            missing -= 1
            return missing == 0
        }
        if isLast {
            openedTime.withLock { $0 = monotonicNanoseconds() }
            for _ in 0..<count { opened.signal() }
        }
        opened.wait()
    }
}
