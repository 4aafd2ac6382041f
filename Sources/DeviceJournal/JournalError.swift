package import NeedModel
import SQLiteStore
package import SyncCore
import WireFormat

/// Why the journal did not do what it was asked; nothing was changed.
///
/// No case holds what a resident said or who a resident is; ids, codes and names of reference data
/// may occur.
package enum JournalError: Error, Hashable, Sendable {
    // The device.
    /// No `enroll` has succeeded here yet.
    case notEnrolled

    // The file.
    /// Another command held the journal longer than the bounded wait.
    case busy
    case diskFull
    case readOnly(path: String)
    case cannotOpen(path: String, detail: String)
    case ioError(detail: String)
    case damaged(path: String, detail: String)
    /// The file belongs to another program.
    case foreign(path: String)
    /// A later release has been here.
    case newerFormat(found: Int, supported: Int)

    // Naming a record.
    case idMalformed(String)
    case idTooShort(String)
    case notFound(String)
    case ambiguous(String, candidates: [RecordID])

    // Values.
    case invalid(field: NeedField, reason: String)
    case missing(field: NeedField)
    case unknownGrid(String)
    case outsideTerritory(grid: String)
    case unknownCategory(String)
    case unknownTeam(String)
    /// A name that several codes bear.
    case ambiguousName(String, codes: [String])
    case tooLarge

    // What may be done when.
    case notAllowed(role: Role, action: Action)
    case wrongState(status: NeedStatus, action: Action)
    /// The current order went to another team.
    case notYourJob
    case nothingToSettle(field: NeedField)
    case noSuchVersion(number: Int, count: Int)
    /// More than one other version: which is meant must be said by number.
    case otherIsAmbiguous(count: Int)
    /// What came late belongs to an order that is not the current one.
    case formerOrder
    case notRefused(String)
    /// The disk has left nothing of a command that was set aside, or not what it was about.
    case tooDamaged

    // Sync.
    /// The answer belongs to another state of the journal; asking again is right.
    case staleAnswer
    case badAnswer(String)
    case exhausted

    package enum Action: String, Hashable, Sendable, CaseIterable {
        case add, edit, withdraw, undo, note, rate, accept, decline, start, finish, dispatch
        case settle, retry
    }

    /// What a program's exit code can tell apart.
    package enum Category: Hashable, Sendable {
        /// 1
        case failed
        /// 64: the person asked for something that cannot be.
        case usage
        /// 74
        case disk
        /// 75
        case tryLater
        /// 77
        case notEnrolled
    }

    package var category: Category {
        switch self {
        case .notEnrolled: .notEnrolled
        case .busy: .tryLater
        case .diskFull, .readOnly, .cannotOpen, .ioError, .damaged: .disk
        case .idMalformed, .idTooShort, .invalid, .missing, .unknownGrid, .unknownCategory,
            .unknownTeam, .ambiguousName, .tooLarge, .outsideTerritory:
            .usage
        case .foreign, .newerFormat, .notFound, .ambiguous, .notAllowed, .wrongState, .notYourJob,
            .nothingToSettle, .noSuchVersion, .otherIsAmbiguous, .formerOrder, .notRefused,
            .tooDamaged, .staleAnswer, .badAnswer, .exhausted:
            .failed
        }
    }
}

extension JournalError: CustomStringConvertible {
    package var description: String {
        switch self {
        case .notEnrolled: "this device is not enrolled"
        case .busy: "another command is using the journal"
        case .diskFull: "the disk is full; nothing was stored"
        case .readOnly(let path): "\(path) cannot be written to"
        case .cannotOpen(let path, let detail): "\(path) cannot be opened (\(detail))"
        case .ioError(let detail): "the disk failed; nothing was stored (\(detail))"
        case .damaged(let path, let detail): "\(path) is damaged (\(detail))"
        case .foreign(let path): "\(path) is not a journal"
        case .newerFormat(let found, let supported):
            "the journal has format \(found), and this program knows formats up to \(supported)"
        case .idMalformed(let text): "\"\(text)\" is not an id"
        case .idTooShort(let text): "\"\(text)\" is too short for an id"
        case .notFound(let text): "nothing here has the id \(text)"
        case .ambiguous(let text, let candidates):
            "\(text) could mean " + candidates.map(\.description).joined(separator: ", ")
        case .invalid(let field, let reason): "\(field.name): \(reason)"
        case .missing(let field): "\(field.name) is missing"
        case .unknownGrid(let code): "there is no grid \(code)"
        case .outsideTerritory(let grid): "grid \(grid) lies outside this device's territory"
        case .unknownCategory(let code): "there is no category \(code)"
        case .unknownTeam(let code): "there is no team \(code)"
        case .ambiguousName(let name, let codes):
            "\(name) could mean " + codes.joined(separator: ", ")
        case .tooLarge: "this is too much for one command"
        case .notAllowed(let role, let action):
            "the \(role.name) role cannot \(action.rawValue)"
        case .wrongState(let status, let action):
            "cannot \(action.rawValue) a need that is \(status.rawValue)"
        case .notYourJob: "this job was given to another team"
        case .nothingToSettle(let field): "\(field.name) is not in conflict"
        case .noSuchVersion(let number, let count):
            "there is no version \(number); there are \(count)"
        case .otherIsAmbiguous(let count): "there are \(count) versions, so \"other\" is not clear"
        case .formerOrder: "this belongs to a former order"
        case .notRefused(let text): "nothing refused is called \(text)"
        case .tooDamaged: "the disk has damaged this command beyond doing it anew"
        case .staleAnswer: "the answer does not fit the journal any more"
        case .badAnswer(let reason): "the server's answer makes no sense: \(reason)"
        case .exhausted: "this journal has given out all of its numbers"
        }
    }

    /// What the person can do next; empty when there is nothing to add.
    package var hint: String {
        switch self {
        case .notEnrolled: "Ask the server's operator for an invite code, then: waystation enroll"
        case .busy: "Try again in a moment."
        case .diskFull: "Free some space on the disk and try again."
        case .readOnly, .cannotOpen:
            "Check that the directory exists and that you may write in it."
        case .ioError: "Check the disk; the system's log may say more."
        case .damaged: "Keep a copy of the file; the operator can help to recover what waits in it."
        case .foreign: "Check WAYSTATION_HOME; the file was not changed."
        case .newerFormat: "Upgrade the program; the file was not changed."
        case .idMalformed, .idTooShort, .notFound:
            "Give the last digits as the list shows them, at least "
                + "\(ShortIDs.digitsMin)."
        case .ambiguous: "Give more digits."
        case .ambiguousName: "Give the code."
        case .missing(.text): "Say what is needed: waystation need add TEXT"
        case .missing(.grid): "Give it with --grid, by its code or its name."
        case .missing, .invalid, .tooLarge: ""
        case .unknownGrid, .unknownCategory, .unknownTeam:
            "Sync to get the newest list, or check the spelling."
        case .outsideTerritory: "Choose a grid of your own, or tell your station."
        case .notAllowed: "Ask your station to do it."
        case .wrongState(_, .rate): "A grade is possible once the job is finished."
        case .wrongState(.withdrawn, _): "First bring it back: waystation need withdraw ID --undo"
        case .wrongState: ""
        case .notYourJob: "Sync to see the newest state."
        case .nothingToSettle: "Use need edit to change it."
        case .formerOrder:
            "Keep the shown order, or dispatch the need to that team again and finish it for them."
        case .noSuchVersion, .otherIsAmbiguous: "conflict show numbers them."
        case .tooDamaged: "Record anew what you remember of it, and then drop it."
        case .notRefused: "refused list shows what there is."
        case .staleAnswer: "Sync again."
        case .badAnswer: "Check the server's address, or tell its operator."
        case .exhausted: "Enrol anew with another WAYSTATION_HOME."
        }
    }
}

extension JournalError {
    /// Sorts what came from below.
    init(_ error: any Error, path: String) {
        switch error {
        case let error as JournalError: self = error
        case let error as SQLiteError:
            switch error.kind {
            case .busy, .locked: self = .busy
            case .full: self = .diskFull
            case .readOnly: self = .readOnly(path: path)
            case .cannotOpen: self = .cannotOpen(path: path, detail: error.description)
            case .corrupt: self = .damaged(path: path, detail: error.description)
            case .notADatabase: self = .foreign(path: path)
            case .ioError, .constraint, .other: self = .ioError(detail: error.description)
            }
        case let error as SchemaTooNew:
            self = .newerFormat(found: Int(error.found), supported: Int(error.supported))
        case is ForeignDatabase: self = .foreign(path: path)
        case let error as ByteCodingError:
            self = .damaged(path: path, detail: "stored bytes are \(error)")
        case let error as FrameError:
            self = .damaged(path: path, detail: error.description)
        default: self = .ioError(detail: "\(error)")
        }
    }
}
