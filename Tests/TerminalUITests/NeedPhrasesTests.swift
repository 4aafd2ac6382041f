import NeedModel
import Testing

@testable import TerminalUI

@Suite struct NeedPhrasesTests {
    private static let families: [[Phrase]] = [
        NeedStatus.allCases.map(\.phrase), FieldValue.Verdict.allCases.map(\.phrase),
        Role.allCases.map(\.phrase), TerritoryLevel.allCases.map(\.phrase),
        NeedField.allCases.map(\.phrase), RejectionCode.allCases.map(\.phrase),
    ]

    /// In a list the phrase is all that a person sees: two that read alike would hide a difference.
    @Test(arguments: families) func phrasesOfOneFamilyDiffer(family: [Phrase]) {
        for language in Language.allCases {
            #expect(Set(family.map { $0(language) }).count == family.count)
        }
    }

    @Test(arguments: families) func chinesePhrasesAreChinese(family: [Phrase]) {
        for phrase in family {
            #expect(phrase.chinese.unicodeScalars.contains { (0x4E00...0x9FFF).contains($0.value) })
        }
    }
}
