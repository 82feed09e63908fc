// swift-tools-version: 5.9
import PackageDescription

// `OttlaFFI.xcframework` is built first: ../README.md says how.
let package = Package(
    name: "Ottla",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "Ottla", targets: ["Ottla"])],
    targets: [
        .binaryTarget(name: "OttlaFFI", path: "OttlaFFI.xcframework"),
        .target(
            name: "Ottla",
            dependencies: ["OttlaFFI"],
            linkerSettings: [.linkedFramework("CoreFoundation"), .linkedFramework("Security")]
        ),
    ]
)
