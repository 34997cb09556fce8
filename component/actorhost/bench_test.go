package actorhost

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dapr-entities/entities/actors"
)

// BenchmarkDaprEcho sends commands that do nothing through daprd's gRPC actor API and back through the stream: the
// ceiling of everything that is built on it. 32 callers, 1,000 entities.
func BenchmarkDaprEcho(b *testing.B) {
	const callers = 32
	s := daprd(b, placement(b))
	h := host(b, s, Config{}, "Cart")
	h.awaitReady(10 * time.Second)
	invoker := s.client().Invoker(simpleName)
	await(b, 10*time.Second, "served", func() bool {
		_, err := invoker.Handle(b.Context(), command("warm", `{}`))
		return err == nil
	})
	var next atomic.Int64
	took := make([]time.Duration, b.N)
	b.ResetTimer()
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
				begin := time.Now()
				if _, err := invoker.Handle(b.Context(), command(fmt.Sprint("cart-", i%1000), `{"a":1}`)); err != nil {
					b.Error(err)
				}
				took[i] = time.Since(begin)
			}
		})
	}
	group.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
	b.ReportMetric(float64(took[b.N/2])/1e6, "p50-ms")
	b.ReportMetric(float64(took[b.N*99/100])/1e6, "p99-ms")
}

// BenchmarkAnswer is what the host adds to a command: reading the metadata, and making the answer.
func BenchmarkAnswer(b *testing.B) {
	n, sequence := testSession(1<<20), int64(0)
	metadata := map[string]string{
		"content-type": "application/json", "Dapr-Api-Call": "InvokeActor", "dapr-caller-app-id": "shop",
		"dapr-caller-namespace": "default", "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
	}
	data := []byte(`{"balance":1}`)
	b.ReportAllocs()
	for b.Loop() {
		sequence++
		in := readMetadata(metadata)
		r := n.sized("1", actors.Ref{}, sequence, invoked("1", data, replyMetadata(actors.Outcome{Sequence: sequence}, in.contentType)))
		if _, err := proto.Marshal(r); err != nil {
			b.Fatal(err)
		}
	}
}
