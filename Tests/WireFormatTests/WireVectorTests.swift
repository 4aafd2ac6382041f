import NeedModel
import SyncCore
import Testing
import WireFormat

/// Runs `protocol/vectors` that concern frames and messages.
@Suite struct WireVectorTests {
    @Test func frames() throws {
        struct Case: Decodable {
            let about: String
            let frame: Hex
            let messageLength: Int
            let message: Hex?
            let dictionary: Bool
        }
        struct File: Decodable { let cases: [Case] }
        for one in try Vectors.load("frames", as: File.self).cases {
            let decoded = try Frame.decode(one.frame.bytes)
            #expect(decoded.message.count == one.messageLength, "\(one.about)")
            if let message = one.message {
                #expect(decoded.message == message.bytes, "\(one.about)")
            } else {
                // The others would only make the file long; zlib has checked their sum.
                #expect(Set(decoded.message).count < 100, "\(one.about)")
            }
            #expect(decoded.usedDictionary == one.dictionary, "\(one.about)")
        }
    }

    @Test func hostileFrames() throws {
        struct Case: Decodable {
            let about: String
            let frame: Hex
            let error: String
        }
        struct File: Decodable { let hostile: [Case] }
        for one in try Vectors.load("frames", as: File.self).hostile {
            do {
                _ = try Frame.decode(one.frame.bytes)
                Issue.record("taken: \(one.about)")
            } catch {
                let name =
                    switch error {
                    case .notAFrame: "not-a-frame"
                    case .versionNotSpoken: "version-not-spoken"
                    case .damaged: "damaged"
                    case .tooLarge: "too-large"
                    case .unknownDictionary: "unknown-dictionary"
                    case .malformed: "malformed"
                    }
                #expect(name == one.error, "\(one.about)")
            }
        }
    }

    // MARK: - Messages

    private struct Case: Decodable {
        let about: String
        let type: String
        let protobuf: Hex
        /// What an answer leans on.
        let request: RequestText?
        let meaning: Meaning
    }

    private struct Meaning: Decodable {
        let request: RequestText?
        let answer: AnswerText?
        let enrollRequest: EnrollRequestText?
        let enrollAnswer: EnrollAnswerText?
        let historyRequest: HistoryRequestText?
        let historyAnswer: HistoryAnswerText?

        init(from decoder: any Decoder) throws {
            // Each type has a member that no other has.
            request = try? RequestText(from: decoder)
            answer = try? AnswerText(from: decoder)
            enrollRequest = try? EnrollRequestText(from: decoder)
            enrollAnswer = try? EnrollAnswerText(from: decoder)
            historyRequest = try? HistoryRequestText(from: decoder)
            historyAnswer = try? HistoryAnswerText(from: decoder)
        }
    }

    private struct File: Decodable {
        let cases: [Case]
        let foreign: [Case]
        let hostile: [Hostile]
        let chains: [Chain]
    }

    private struct Chain: Decodable {
        let about: String
        let groups: [GroupText]
        let chain: Exact<UInt64>
        let behind: Exact<UInt64>
    }

    private struct Hostile: Decodable {
        let about: String
        let type: String
        let protobuf: Hex
    }

    /// - Parameter isExact: Whether encoding the meaning gives the very bytes.
    private func expect(_ one: Case, isExact: Bool) throws {
        let bytes = one.protobuf.bytes
        func expect<Value: Equatable>(
            _ meant: Value?, _ decode: ([UInt8]) throws -> Value, _ encode: (Value) -> [UInt8]
        ) throws {
            let meant = try #require(meant, "\(one.about)")
            #expect(try decode(bytes) == meant, "\(one.about)")
            if isExact { #expect(encode(meant) == bytes, "\(one.about)") }
        }
        switch one.type {
        case "sync-request":
            try expect(
                one.meaning.request?.value, { try SyncRequest(decoding: $0) }, { $0.encoded() })
        case "sync-answer":
            try expect(
                one.meaning.answer?.value(),
                { try SyncAnswer(decoding: $0, for: one.request?.value) },
                { $0.encoded(for: one.request?.value) })
        case "enroll-request":
            try expect(
                one.meaning.enrollRequest?.value, { try EnrollRequest(decoding: $0) },
                { $0.encoded() })
        case "enroll-answer":
            try expect(
                one.meaning.enrollAnswer?.value(), { try EnrollAnswer(decoding: $0) },
                { $0.encoded() })
        case "history-request":
            try expect(
                one.meaning.historyRequest?.record.id, HistoryCoding.decodeRequest,
                { HistoryCoding.encode(record: $0) })
        case "history-answer":
            try expect(
                one.meaning.historyAnswer?.entries.map(\.entry), HistoryCoding.decodeAnswer,
                { HistoryCoding.encode(entries: $0) })
        default: Issue.record("unknown type \(one.type)")
        }
    }

    @Test func messages() throws {
        let file = try Vectors.load("messages", as: File.self)
        #expect(file.cases.count >= 15)
        for one in file.cases { try expect(one, isExact: true) }
    }

    @Test func chains() throws {
        for one in try Vectors.load("messages", as: File.self).chains {
            let chain = HashChain(one.chain.value).appending(one.groups.map(\.value))
            #expect(chain.value == one.behind.value, "\(one.about)")
        }
    }

    @Test func messagesOfOtherPrograms() throws {
        for one in try Vectors.load("messages", as: File.self).foreign {
            try expect(one, isExact: false)
        }
    }

    @Test func hostileMessages() throws {
        let decoders: [String: ([UInt8]) throws -> Void] = [
            "sync-request": { _ = try SyncRequest(decoding: $0) },
            "sync-answer": { _ = try SyncAnswer(decoding: $0) },
            "enroll-request": { _ = try EnrollRequest(decoding: $0) },
            "enroll-answer": { _ = try EnrollAnswer(decoding: $0) },
            "history-request": { _ = try HistoryCoding.decodeRequest($0) },
            "history-answer": { _ = try HistoryCoding.decodeAnswer($0) },
        ]
        for one in try Vectors.load("messages", as: File.self).hostile {
            let decode = try #require(decoders[one.type])
            do {
                try decode(one.protobuf.bytes)
                Issue.record("taken: \(one.about)")
            } catch FrameError.malformed {
                // As it should be.
            } catch {
                Issue.record("\(one.about): \(error)")
            }
        }
    }
}
