package harness

import (
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Ports are drawn from below the range that systems give to outgoing connections: a port from that range may be taken
// by somebody's client between the moment it is found free and the moment the process listens on it, and under load it
// is.
const (
	firstPort = 10240
	lastPort  = 32000
)

var ports struct {
	sync.Mutex
	given map[int]bool
}

// FreePorts returns n distinct TCP ports on which nothing listens. No two calls in this process return the same port,
// so that a process can be started again on its own ones. Safe for concurrent use.
func FreePorts(n int) ([]int, error) {
	ports.Lock()
	defer ports.Unlock()

	if ports.given == nil {
		ports.given = make(map[int]bool)
	}

	free := make([]int, 0, n)

	for attempts := 0; len(free) < n; attempts++ {
		if attempts > 100*(n+10) {
			return nil, fmt.Errorf("find %d free ports between %d and %d: found %d", n, firstPort, lastPort, len(free))
		}

		port := firstPort + rand.IntN(lastPort-firstPort)
		if ports.given[port] || !isFree(port) {
			continue
		}

		ports.given[port] = true

		free = append(free, port)
	}

	return free, nil
}

// isFree asks for all interfaces: some Dapr servers listen on all of them whatever they are told.
func isFree(port int) bool {
	listener, err := net.Listen("tcp", ":"+strconv.Itoa(port))
	if err != nil {
		return false
	}

	return listener.Close() == nil
}

// loopback is the address of a port on this machine.
func loopback(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
