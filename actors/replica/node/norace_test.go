//go:build !race

package node

const RaceDetector = false
