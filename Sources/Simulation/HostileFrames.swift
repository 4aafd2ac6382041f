// What somebody may send who has a device's token, or the hub's name. What a well-formed frame of
// theirs does no checker could follow, so copies of the hub and of a device get them: these must
// refuse or survive each, and are sound afterwards.

import CZlib
import DeviceJournal
import HubLedger
import SimulatedDisk
import SyncCore
import WireFormat

extension World {
    private static let framesPerAttack = 6

    /// - Parameter message: What the device has really sent.
    func attackHub(_ message: [UInt8], as device: SimulatedDevice) throws {
        let time = now + hubOffset
        let copy = try SimulatedHub(
            chance: chance.split(), image: hub.disk.snapshot(), schema: hub.schema
        ) { time }
        defer { copy.close() }
        for _ in 0..<Self.framesPerAttack {
            let frame = try hostileFrame(from: message)
            guard let ledger = copy.ledger,
                let request = try? SyncRequest(decoding: Frame.decode(frame).message)
            else { continue }
            do {
                let results = try ledger.sync([(device.number, request, frame)])
                let answer = try results.answers[0].get()
                _ = try Frame.encode(
                    answer.encoded(for: request), usesDictionary: true, borders: .answer)
            } catch LedgerError.invalid {
                // Refused.
            } catch {
                throw Violation(invariant: 23, what: "a hostile request: \(error)")
            }
        }
        let findings = try copy.ledger?.check() ?? []
        guard findings.isEmpty else {
            throw Violation(invariant: 23, what: "after hostile requests: \(findings)")
        }
    }

    /// - Parameter message: What the hub has really answered.
    func attack(_ device: SimulatedDevice, _ message: [UInt8], to request: SyncRequest) throws {
        let disk = Disk(seed: chance.next(), image: device.disk.snapshot())
        defer { disk.close() }
        let clocks = device.clocks(now: now)
        let frames = try (0..<Self.framesPerAttack).map { _ in try hostileFrame(from: message) }
        do throws(JournalError) {
            let journal = try Journal(
                path: SimulatedDevice.path, random: chance.split().source,
                busyTimeoutMilliseconds: 0, vfs: disk.vfsName)
            for frame in frames {
                guard let message = try? Frame.decode(frame).message else { continue }
                do throws(JournalError) {
                    _ = try journal.absorb(message, for: request, clocks: clocks)
                } catch {
                    guard error.category != .disk else { throw error }
                }
            }
            _ = try journal.needs(includingWithdrawn: true)
            _ = try journal.makeRequest(
                batchBytesMax: Limits.batchBytesStart, pageBytesMax: Limits.pageBytesStart,
                clocks: clocks, attempt: 1)
            let findings = try journal.integrityCheck()
            guard findings.isEmpty else { throw .damaged(path: "", detail: "\(findings)") }
        } catch {
            throw Violation(invariant: 23, what: "hostile answers to \(device.name): \(error)")
        }
    }

    /// Random bytes, a bomb, or a frame without fault around a message that has some.
    private func hostileFrame(from message: [UInt8]) throws -> [UInt8] {
        let kind = chance.below(16)
        if kind == 0 {
            let bomb = Self.bomb(length: chance.below(2 * Limits.inflatedBytesMax))
            if (try? Frame.decode(bomb)) != nil {
                throw Violation(invariant: 23, what: "a bomb was inflated")
            }
            return bomb
        }
        if kind < 4 { return chance.happens(0.5) ? noise(200) : [0x57, 0x59, 1] + noise(200) }
        var bytes = kind < 6 ? noise(200) : message
        for _ in 0...chance.below(3) where !bytes.isEmpty {
            let start = chance.below(bytes.count)
            let range = start..<min(start + chance.below(9), bytes.count)
            switch chance.below(6) {
            case 0: bytes.replaceSubrange(range, with: noise(9))
            case 1: bytes.insert(contentsOf: bytes[range], at: start)
            case 2: bytes.removeSubrange(range)
            default: bytes[start] ^= 1 << UInt8(chance.below(8))
            }
        }
        return Self.frame(form: 1, length: bytes.count, bytes)
    }

    private func noise(_ bytesMax: Int) -> [UInt8] {
        (0..<chance.below(bytesMax)).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
    }

    /// Some kilobytes that inflate to twice what may be, and say something else.
    private static func bomb(length: Int) -> [UInt8] {
        frame(form: 0, length: length, deflatedZeros)
    }

    private static let deflatedZeros: [UInt8] = {
        let zeros = [UInt8](repeating: 0, count: 2 * Limits.inflatedBytesMax)
        var count = compressBound(UInt(zeros.count))
        var bytes = [UInt8](repeating: 0, count: Int(count))
        compress(&bytes, &count, zeros, UInt(zeros.count))
        return Array(bytes.prefix(Int(count)))
    }()

    /// See `Frame.swift`; here the checksum is right, whatever the rest is.
    private static func frame(form: UInt8, length: Int, _ body: [UInt8]) -> [UInt8] {
        let checked = [0, 8, 16].map { UInt8(truncatingIfNeeded: length >> $0) } + [form] + body
        let sum = crc32(0, checked, UInt32(checked.count))
        let checksum = [0, 8, 16, 24].map { UInt8(truncatingIfNeeded: sum >> $0) }
        return [0x57, 0x59, Frame.version] + checksum + checked
    }
}
