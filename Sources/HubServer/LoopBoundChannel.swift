import HummingbirdCore
import Logging
import NIOCore

/// A connection whose task runs on the event loop that reads and writes it.
///
/// Hummingbird leaves the task to Swift's own threads; then each request changes threads twice
/// more, which costs as much as its HTTP. What blocks belongs to the ledger's thread; frames are
/// packed and unpacked here, on as many loops as there are cores.
struct LoopBoundChannel<Base: ServerChildChannel>: ServerChildChannel {
    let base: Base

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Base.Value> {
        base.setup(channel: channel, logger: logger)
    }

    func handle(value: Base.Value, logger: Logger) async {
        let loop = LoopExecutor(loop: value.channel.eventLoop)
        await withTaskExecutorPreference(loop) {
            await base.handle(value: value, logger: logger)
        }
    }
}

private final class LoopExecutor: TaskExecutor {
    private let loop: any EventLoop

    init(loop: any EventLoop) { self.loop = loop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        loop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
