package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// Probe tells whether something is ready: nil if it is, else why not. It returns quickly and may be called again.
type Probe func(ctx context.Context) error

// probeClient keeps no connections: an idle one would delay the graceful stop of the server it leads to.
var probeClient = &http.Client{
	Timeout:   2 * time.Second,
	Transport: &http.Transport{DisableKeepAlives: true},
}

// HTTPReady is ready when a GET of the URL is answered with a 2xx status.
func HTTPReady(url string) Probe {
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return fmt.Errorf("get %s: %w", url, err)
		}

		response, err := probeClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()

		body, _ := io.ReadAll(io.LimitReader(response.Body, 512))
		if response.StatusCode/100 != 2 {
			return fmt.Errorf("get %s: %s: %s", url, response.Status, body)
		}

		return nil
	}
}

// TCPReady is ready when the address accepts connections.
func TCPReady(address string) Probe { return dialReady("tcp", address) }

// SocketReady is ready when somebody listens on the unix socket.
func SocketReady(path string) Probe { return dialReady("unix", path) }

// FileReady is ready when the file exists.
func FileReady(path string) Probe {
	return func(context.Context) error {
		_, err := os.Stat(path)

		return err
	}
}

// AllReady is ready when every probe is.
func AllReady(probes ...Probe) Probe {
	return func(ctx context.Context) error {
		errs := make([]error, 0, len(probes))
		for _, probe := range probes {
			errs = append(errs, probe(ctx))
		}

		return errors.Join(errs...)
	}
}

func dialReady(network, address string) Probe {
	return func(ctx context.Context) error {
		dialer := net.Dialer{Timeout: time.Second}

		conn, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return err
		}

		return conn.Close()
	}
}

// Poll asks the probe until it is ready or the context ends; then it returns the probe's last answer.
func Poll(ctx context.Context, every time.Duration, probe Probe) error {
	ticker := time.NewTicker(every)
	defer ticker.Stop()

	for {
		err := probe(ctx)
		if err == nil {
			return nil
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
