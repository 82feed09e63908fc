// What Swift has words for and UniFFI does not. No rule of the clients is here.

import Foundation

extension OttlaConsumer {
    /// The next records of one partition, at most `maxRecords` of them; waits for them for at most `timeout` seconds, and has none then.
    /// To ask is to be done with those before. UniFFI hears of no cancellation while it waits: a task that is cancelled ends when its time is over.
    public func poll(timeout: TimeInterval, maxRecords: Int32 = 500) async throws -> [ConsumerRecord] {
        let deadline = ProcessInfo.processInfo.systemUptime + timeout
        while true {
            let records = try take(maxRecords: maxRecords)
            if !records.isEmpty {
                return records
            }
            try Task.checkCancellation()
            if !(try await ready(timeout: max(0, deadline - ProcessInfo.processInfo.systemUptime))) {
                return records
            }
        }
    }
}

extension OttlaError {
    /// The facts, which every class of errors has.
    public var info: ErrorInfo {
        switch self {
        case .Config(let info), .Security(let info), .Timeout(let info), .Connection(let info), .Closed(let info),
            .Broker(let info), .Client(let info):
            return info
        }
    }
}
