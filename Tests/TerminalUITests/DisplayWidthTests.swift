import Testing

@testable import TerminalUI

@Suite struct DisplayWidthTests {
    @Test(arguments: widthVectors)
    func agreesWithTheOracle(vector: WidthVector) {
        #expect(displayWidth(of: vector.text) == vector.width)
    }

    @Test(arguments: ["\u{1B}", "\n", "\r\n", "\0", "\u{7F}", "\u{9B}"])
    func controlCharactersTakeNoColumn(text: String) {
        #expect(displayWidth(of: text) == 0)
    }

    @Test(
        arguments: [
            WidthRanges.zero, WidthRanges.wide, WidthRanges.spacingMarks,
            WidthRanges.widenedByEmojiSelector,
        ])
    func rangesAscendWithoutOverlap(ranges: [UInt32]) {
        let isOrdered = ranges.indices.dropFirst().allSatisfy { index in
            // A range may be a single scalar; two ranges never share one.
            index.isMultiple(of: 2)
                ? ranges[index - 1] < ranges[index] : ranges[index - 1] <= ranges[index]
        }
        #expect(ranges.count.isMultiple(of: 2) && isOrdered)
    }

    @Test(arguments: widthVectors)
    func truncatedTextFitsAtEveryWidth(vector: WidthVector) {
        for width in 0...vector.width + 1 {
            #expect(displayWidth(of: vector.text.truncate(toWidth: width)) <= width)
        }
    }

    /// Also the check that nothing is wasted: one column is lost at most, to a wide character.
    @Test(arguments: widthVectors.filter { $0.width > 2 })
    func truncatedTextUsesTheRoom(vector: WidthVector) {
        for width in 1..<vector.width {
            #expect(displayWidth(of: vector.text.truncate(toWidth: width)) >= width - 1)
        }
    }

    @Test(arguments: widthVectors)
    func truncationNeverSplitsAGrapheme(vector: WidthVector) {
        for width in 1..<max(2, vector.width) {
            let result = vector.text.truncate(toWidth: width)
            guard result != vector.text else { continue }
            #expect(result.last == "…")
            #expect(Array(vector.text).starts(with: Array(result).dropLast()))
        }
    }

    @Test func textThatFitsStaysWhole() {
        #expect("缺路灯".truncate(toWidth: 6) == "缺路灯")
    }

    @Test func textIsCutBeforeAWideCharacterThatWouldNotFit() {
        #expect("缺路灯".truncate(toWidth: 4) == "缺…")
    }

    @Test func combiningMarksBehindTheLastColumnStay() {
        #expect("abe\u{301}".truncate(toWidth: 3) == "abe\u{301}")
    }

    @Test func leftAlignedTextIsPaddedBehind() {
        #expect("路灯".pad(toWidth: 6) == "路灯  ")
    }

    @Test func rightAlignedTextIsPaddedBefore() {
        #expect("路灯".pad(toWidth: 6, alignment: .right) == "  路灯")
    }

    @Test func textThatIsTooWideIsNotPadded() {
        #expect("路灯".pad(toWidth: 3) == "路灯")
    }
}
