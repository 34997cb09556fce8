//go:build race

package operations

const raceDetector = true
