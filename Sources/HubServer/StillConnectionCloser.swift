import NIOCore

/// Closes a connection on which nothing has moved for a while: nothing came, no answer was made,
/// and the client took nothing of what waits for it.
///
/// Hummingbird's own bound stands still while a whole request awaits its answer, so a client that
/// asks and does not read would keep its connection for ever. A client that reads slowly keeps it
/// here as long as the kernel takes some bytes for it; what the kernel has taken it also sends after
/// the connection was closed.
final class StillConnectionCloser: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = NIOAny
    typealias OutboundIn = NIOAny

    private let stillMax: TimeAmount
    private var lastMove = NIODeadline.uptimeNanoseconds(0)
    /// What the kernel had not taken when it was last looked at.
    private var bytesWaiting = 0
    private var nextLook: Scheduled<Void>?

    init(stillMax: TimeAmount) { self.stillMax = stillMax }

    func handlerAdded(context: ChannelHandlerContext) {
        lastMove = context.eventLoop.now
        look(context)
    }

    func handlerRemoved(context: ChannelHandlerContext) { nextLook?.cancel() }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        lastMove = context.eventLoop.now
        context.fireChannelRead(data)
    }

    func write(
        context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?
    ) {
        lastMove = context.eventLoop.now
        context.write(data, promise: promise)
    }

    private func look(_ context: ChannelHandlerContext) {
        let bytes =
            try? context.channel.syncOptions?.getOption(ChannelOptions.bufferedWritableBytes)
        if let bytes, bytes != bytesWaiting {
            bytesWaiting = bytes
            lastMove = context.eventLoop.now
        }
        guard context.eventLoop.now < lastMove + stillMax else {
            context.close(promise: nil)
            return
        }
        nextLook = context.eventLoop.assumeIsolated().scheduleTask(deadline: lastMove + stillMax) {
            self.look(context)
        }
    }
}
