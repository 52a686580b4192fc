import org.apache.spark.sql.SparkSession
import org.apache.spark.sql.functions.{col, count, explode, lower, split}

/** Counts the words of a text: WordCount INPUT OUTPUT, both URIs of the cluster's storage. */
object WordCount {
  def main(arguments: Array[String]): Unit = {
    val Array(input, output) = arguments
    val spark = SparkSession.builder().appName("wordcount").getOrCreate()
    import spark.implicits._
    val counts = spark.read
      .textFile(input)
      .select(explode(split(lower(col("value")), "\\s+")).as("word"))
      .where(col("word") =!= "")
      .groupBy("word")
      .agg(count("*").as("count"))
    counts.write.mode("overwrite").parquet(output)
    val written = spark.read.parquet(output).as[(String, Long)].collect().sortBy(-_._2)
    println(s"Scala ${scala.util.Properties.versionNumberString}: ${written.length} words")
    written.take(3).foreach { case (word, n) => println(s"$n $word") }
    spark.stop()
  }
}
