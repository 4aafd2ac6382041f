import HummingbirdCore
import NIOCore
import Synchronization

/// Memory for bodies and inflated messages, shared by all requests in hand.
final class MemoryBudget: Sendable {
    private let taken = Atomic(0)

    /// - Returns: Whether there was room.
    func take(_ bytes: Int) -> Bool {
        let (_, newValue) = taken.wrappingAdd(bytes, ordering: .relaxed)
        if newValue <= HubLimits.bufferedBytesMax { return true }
        taken.wrappingSubtract(bytes, ordering: .relaxed)
        return false
    }

    func release(_ bytes: Int) {
        taken.wrappingSubtract(bytes, ordering: .relaxed)
    }
}

/// The connection failed while a request was read: there is nobody left to answer.
struct ConnectionFailure: Error {
    var underlying: any Error
}

/// Reads one request's body within its bounds of size, time and memory.
struct RequestIntake {
    private var body: RequestBody.AsyncIterator
    private let budget: MemoryBudget
    private let start = ContinuousClock.now
    private var isAtEnd = false
    /// What this request holds of the budget.
    private var bytesTaken = 0
    /// What arrived, read or drained.
    private(set) var bytesReceived = 0

    init(_ body: RequestBody, budget: MemoryBudget) {
        self.body = body.makeAsyncIterator()
        self.budget = budget
    }

    /// Reads the whole body.
    ///
    /// - Parameter bytesMax: What the body may have.
    /// - Throws: ``HubFault``, or ``ConnectionFailure``.
    mutating func collect(upTo bytesMax: Int) async throws -> [UInt8] {
        var bytes: [UInt8] = []
        while let part = try await next() {
            guard bytes.count + part.readableBytes <= bytesMax else { throw HubFault.tooLarge }
            try take(part.readableBytes)
            bytes.append(contentsOf: part.readableBytesView)
        }
        return bytes
    }

    /// Takes memory for what a body is turned into; all is given back by ``release()``.
    mutating func take(_ bytes: Int) throws(HubFault) {
        guard budget.take(bytes) else { throw .busy }
        bytesTaken += bytes
    }

    mutating func release() {
        budget.release(bytesTaken)
        bytesTaken = 0
    }

    /// Reads what is left and drops it, so that the connection can go on.
    ///
    /// - Throws: ``HubFault`` when there is too much of it: the connection is better closed.
    mutating func drain() async throws {
        var rest = HubLimits.drainedBytesMax
        while let part = try await next() {
            rest -= part.readableBytes
            guard rest >= 0 else { throw HubFault.tooLarge }
        }
    }

    private mutating func next() async throws -> ByteBuffer? {
        if isAtEnd { return nil }
        // The connection's idle bound ends a wait; this one ends a body that trickles.
        guard start.duration(to: .now) < .seconds(HubLimits.bodySecondsMax) else {
            throw HubFault.tooSlow
        }
        let part: ByteBuffer?
        do {
            part = try await body.next()
        } catch {
            throw ConnectionFailure(underlying: error)
        }
        guard let part else {
            isAtEnd = true
            return nil
        }
        bytesReceived += part.readableBytes
        return part
    }
}
